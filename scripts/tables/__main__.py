"""Put the tables of `results/*.json` between their markers in the Markdown files.

Run from the repository's root: ``python -m scripts.tables [--check]``.
"""

import json
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer

from mvcn.experiments.cell import read_cells
from mvcn.experiments.compare import Results, Spread, compare
from mvcn.experiments.comparison_tables import differences_table, scores_table, sentences
from mvcn.experiments.published import published_results
from mvcn.models import MODELS
from scripts.tables.bulk_tables import bulk_faults_table, bulk_table
from scripts.tables.idea_tables import feature_ideas
from scripts.tables.scaling_tables import SCALING_ROWS

DOCS = (
    *("constraints", "data", "explain", "how-to/bulk", "models", "reliability", "reproduction"),
    "scaling",
)
PAGES = (Path("README.md"), *(Path("docs") / f"{name}.md" for name in DOCS))
RESULTS = Path("results")
MARKED = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
PERCENT = 100

METRIC_NAMES = {
    "accuracy": "accuracy",
    "f1_weighted": "weighted F1",
    "f1_macro": "macro F1",
    "f1_binary": "binary F1",
}
ALL_F1 = ("accuracy", "f1_weighted", "f1_macro")
NUMBERS_ALONE = "-numbers"
"""End of the name of a table that leaves out the sentences of an experiment."""
BINARY = 2
MILLION = 1e6
SECONDS_PER_HOUR = 3600

SCALE_ROWS = {
    "prepare": "`mvcn prepare` of a CSV with image files",
    "audit": "`mvcn audit` of what it wrote",
    "audit_of_files": "`mvcn audit` of the CSV itself",
}
WAYS = (("told", "told"), ("told-and-dropout", "told, modality dropout"), ("zeros", "zeros"))
TWO = ("accuracy", "f1_weighted")

KINDS = ("sparsemax", "softmax")
ATTENTION_ROWS = (
    ("mass on the patch, posts whose image decides the label", "image_decides", "mass"),
    ("mass on the patch, posts whose text decides it", "text_decides", "mass"),
    ("mass on the patch, all posts", "all", "mass"),
    ("mass on the patch, untrained", "untrained", "mass"),
    ("strongest token on the patch, posts whose image decides", "image_decides", "hit_rate"),
    ("weights that are exactly zero, all posts", "all", "zeros"),
)


def main(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; fail if out of date.")
    ] = False,
) -> None:
    """Write each page anew, or tell which one is out of date."""
    for page in PAGES:
        before = page.read_text("utf-8")
        after = MARKED.sub(lambda found: found[1] + _table(found[2]) + found[3], before)
        if check and before != after:
            raise SystemExit(f"{page} is out of date: run python -m scripts.tables.")
        if not check:
            page.write_text(after, "utf-8")


@cache
def _table(name: str) -> str:
    """Return the table of a file of results, or of a folder that mvcn experiment has written."""
    if name in TABLES_OF_CELLS:
        return TABLES_OF_CELLS[name]()
    if name.endswith(NUMBERS_ALONE):
        return _experiment(RESULTS / name.removesuffix(NUMBERS_ALONE), in_words=False)
    path = RESULTS / f"{SOURCES.get(name, name)}.json"
    if path.is_file():
        return TABLES[name](json.loads(path.read_text("utf-8")))
    return _experiment(RESULTS / name) if (RESULTS / name).is_dir() else ""


@cache
def _compared(folder: Path) -> Results:
    (results,) = compare(read_cells(folder))
    return results


def _experiment_beside(folder: Path, baseline: str, source: Path) -> str:
    """An experiment's rows beside the row of another one."""
    known = [cell for cell in read_cells(source) if cell.row == baseline]
    (results,) = compare([*known, *read_cells(folder)], baseline)
    return _scores_and_differences(results)


def _experiment(folder: Path, *, in_words: bool = True) -> str:
    """Scores of each row, differences to the first one, and `in_words` a sentence for each."""
    return _scores_and_differences(_compared(folder), in_words=in_words)


def _scores_and_differences(results: Results, *, in_words: bool = True) -> str:
    part = f"{results.num_folds} folds of train and dev" if results.num_folds else "dev part"
    tables = [scores_table(results), differences_table(results)]
    blocks = [
        f"{results.data}, {part}, {results.num_posts} posts; mean ± deviation over seeds, in %.",
        *(_markdown(table.header, table.rows) for table in tables if table.rows),
        "\n".join(f"- {sentence}" for sentence in sentences(results)) if in_words else "",
    ]
    return "\n".join([*(f"{block.rstrip()}\n" for block in blocks if block)])


def _systems(data: str, folders: Sequence[str], models: Sequence[str]) -> str:
    """Each system's scores on one data set, with its size and speed, and what was published."""
    cells = [
        cell
        for folder in folders
        if (RESULTS / folder).is_dir()
        for cell in read_cells(RESULTS / folder)
        if cell.data == data and cell.fold is None and cell.row in models
    ]
    if not cells:
        return ""
    (results,) = compare(cells)
    speed = json.loads((RESULTS / "model-speed.json").read_text("utf-8"))["models"]
    rows = {row.name: row for row in results.rows}
    metrics = [*ALL_F1, "f1_binary"] if len(cells[0].class_names) == BINARY else ALL_F1
    lines = [
        [
            name,
            str(len(rows[name].seeds)),
            *(_spread(rows[name].spread(metric)) for metric in metrics),
            f"{rows[name].seconds.mean:.0f}",
            *_size_and_speed(speed.get(name.removesuffix("-faithful"))),
            *_published(name, data),
        ]
        for name in models
        if name in rows
    ]
    header = ["model", "seeds", *(METRIC_NAMES[metric] for metric in metrics), "training, s"]
    header += ["parameters, M", "posts/s", "published accuracy / F1", "which F1, split"]
    hours = sum(cell.seconds["training"] for cell in cells) / SECONDS_PER_HOUR
    note = (
        f"{data}, dev part, {results.num_posts} posts; mean ± deviation over seeds, in %. The "
        f"{len(cells)} trainings took {hours:.1f} hours of one core."
    )
    return _markdown(header, lines) + f"\n{note}\n"


def _size_and_speed(about: Mapping[str, Any] | None) -> list[str]:
    if about is None:
        return ["-", "-"]
    return [f"{about['parameters'] / MILLION:.1f}", f"{about['posts_per_second']:.0f}"]


def _published(name: str, data: str) -> list[str]:
    about = MODELS.get(name.removesuffix("-faithful"))
    result = published_results()[data].get(about.published or "") if about else None
    if result is None:
        return ["-", "-"]
    scores = f"{result['accuracy']:.2f} / {result['f1']:.2f}"
    return [scores, f"{result['which']}, {result['split']}"]


def _spread(spread: Spread) -> str:
    mean = f"{PERCENT * spread.mean:.1f}"
    return mean if spread.deviation is None else f"{mean} ± {PERCENT * spread.deviation:.1f}"


def _bench(content: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [
            entry["name"],
            f"{entry['ours']:.1f}",
            f"{entry['reference']:.1f}",
            entry["unit"],
            entry["reads"],
        ]
        for entry in content
    ]
    return _markdown(["benchmark", "ours", "reference", "unit", "ours is"], rows)


def _attention(content: Mapping[str, Any]) -> str:
    """Attention mass on the known patch for both normalisations, with chance and the untrained."""
    rows = [
        [name, *(_percent(content["summary"][kind]["attention"][key][measure]) for kind in KINDS)]
        for name, key, measure in ATTENTION_ROWS
    ]
    note = (
        f"{content['data'].capitalize()}; recipe `{content['recipe']}`, mean ± deviation over "
        f"{len(content['seeds'])} seeds, in percent. By chance the mass would be "
        f"{PERCENT * content['chance']['mass']:.1f}."
    )
    return _markdown(["", *KINDS], rows) + f"\n{note}\n"


def _pointing(content: Mapping[str, Any]) -> str:
    """Hit rate of each explanation on the known patch."""
    methods = list(content["summary"][KINDS[0]]["pointing"])
    rows = [
        [method, *(_percent(content["summary"][kind]["pointing"][method]) for kind in KINDS)]
        for method in methods
    ]
    note = (
        f"{content['data'].capitalize()}; dev posts whose image decides, mean ± deviation over "
        f"{len(content['seeds'])} seeds, in percent. By chance it would be "
        f"{PERCENT * content['chance']['mass']:.1f}."
    )
    return _markdown(["explanation", *KINDS], rows) + f"\n{note}\n"


def _scale(content: Mapping[str, Any]) -> str:
    """Time and memory of the commands that read a whole data set."""
    rows = [
        [
            words,
            f"{content[name]['seconds']:.0f}",
            f"{content[name]['posts_per_second']:.0f}",
            f"{content[name]['peak_memory_mb'] / 1000:.2f}",
        ]
        for name, words in SCALE_ROWS.items()
    ]
    header = [f"{content['posts']:,} generated posts", "seconds", "posts/s", "GB of memory"]
    return _markdown(header, rows) + "\nMemory is the largest process's peak, on two cores.\n"


def _missing(content: Mapping[str, Any]) -> str:
    """Scores by what posts have, for each way to deal with what they lack."""
    kinds = list(next(iter(content["summary"].values())))
    counts = content["seeds"][WAYS[0][0]][0]
    rows = [
        [
            f"{kind} ({counts[kind]['n']} posts)",
            *(_percent(content["summary"][way][kind][metric]) for way, _ in WAYS for metric in TWO),
        ]
        for kind in kinds
    ]
    header = [f"{words}, {METRIC_NAMES[metric]}" for _, words in WAYS for metric in TWO]
    taken = content["taken_away"]
    note = (
        f"{content['data']}; {PERCENT * taken['image']:.0f} % of the posts without their image and "
        f"{PERCENT * taken['text']:.0f} % without their text, in train and dev alike. Mean ± "
        f"deviation over {len(content['seeds'][WAYS[0][0]])} seeds, in percent."
    )
    return _markdown(["dev posts", *header], rows) + f"\n{note}\n"


def _faults(content: Mapping[str, Any]) -> str:
    """What the audit finds, and how far the labels of equal posts agree."""
    rows = [
        [finding["title"], str(finding["count"]), finding["summary"]]
        for finding in content["findings"]
    ]
    parts = ", ".join(f"{part} {count:,}" for part, count in content["posts"].items())
    return _markdown(["finding", "number", ""], rows) + f"\n{parts} posts.\n"


def _agreement(content: Mapping[str, Any]) -> str:
    """How often two posts that are equal carry the same label."""
    rows = [
        [kind.replace("_", " "), str(found["groups"]), f"{PERCENT * found['share']:.0f}"]
        for kind, found in content["agreement"].items()
    ]
    header = ["equal", "groups of posts", "two posts of a group have one label, %"]
    return _markdown(header, rows)


def _ideas(content: Mapping[str, Any]) -> str:
    """What was tried for the best recipe: scores in the mean of folds, beside a reference."""
    rows = [
        [
            idea["idea"],
            idea["model"],
            str(len(idea["accuracy"])),
            *(_beside(idea[metric], idea["reference"][metric]) for metric in TWO),
        ]
        for idea in content["ideas"]
    ]
    header = ["idea", "model", "folds", *(METRIC_NAMES[metric] for metric in TWO)]
    return _markdown(header, rows) + f"\n{content['protocol']}\n"


def _beside(scores: Sequence[float], reference: Sequence[float]) -> str:
    """Return the mean in percent, and how far it is from that of the same folds' reference."""
    mean, other = statistics.fmean(scores), statistics.fmean(reference)
    return f"{PERCENT * mean:.1f} ({PERCENT * (mean - other):+.1f})"


def _percent(spread: Mapping[str, float]) -> str:
    return f"{PERCENT * spread['mean']:.1f} ± {PERCENT * spread['deviation']:.1f}"


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _faithfulness(results: Mapping[str, Any]) -> str:
    rows = [
        [name, method, f"{curve['gap']:+.3f}", "{:+.3f} to {:+.3f}".format(*curve["interval"])]
        for name, run in results["runs"].items()
        for method, curve in run["faithfulness"].items()
        if method != "posts"
    ]
    count = next(iter(results["runs"].values()))["faithfulness"]["posts"]
    head = ("model", "explanation", "insertion less deletion", "95 % over posts")
    note = f"{count} dev posts of {results['data']}, one training each; larger is more faithful."
    return f"{_markdown(head, rows)}\n{note}\n"


def _clusters(results: Mapping[str, Any]) -> str:
    rows = [
        [
            name,
            f"{PERCENT * run['dev_accuracy']:.1f}",
            f"{run['clusters']['silhouette']:.3f}",
            f"{run['clusters']['within_between']:.2f}",
            f"{PERCENT * run['zeros_in_attention']:.1f}",
        ]
        for name, run in results["runs"].items()
    ]
    head = ("model", "accuracy", "silhouette", "within / between", "zeros in the attention, %")
    return f"{_markdown(head, rows)}\n{results['data']}, dev posts, one training each.\n"


def _constraints(results: Mapping[str, Any]) -> str:
    rows = [
        [
            data,
            name,
            f"{one['weight']:g}",
            f"{PERCENT * one['mean']:.1f} ± {PERCENT * one['deviation']:.1f}",
            f"{one['microseconds_per_step']:.0f}",
        ]
        for data, found in results["data"].items()
        for name, one in found["constraints"].items()
    ]
    head = ("data", "constraint", "weight", "accuracy, %", "microseconds a step")
    seeds = results["settings"]["seeds"]
    note = f"Mean ± deviation over {seeds} seeds; the time is that of the whole step."
    return f"{_markdown(head, rows)}\n{note}\n"


def _reliability(results: Mapping[str, Any]) -> str:
    load, stop, slow = (results[name] for name in ("load", "stop_under_load", "slow_clients"))
    situations = {
        f"{load['clients']} clients, {load['seconds']:g} s": load,
        f"SIGTERM while {stop['clients']} clients ask": stop,
        f"{slow['clients']} clients": slow["without"],
        f"{slow['clients']} clients beside {slow['half_open']} half-open ones": slow["beside"],
    }
    rows = [
        [name, *(str(seen["outcomes"].get(one, 0)) for one in ("200", "429", "503", "lost"))]
        + [str(value) for value in seen["latency_ms"].values()]
        for name, seen in situations.items()
    ]
    head = ("", "answered", "429", "503", "lost", "p50, ms", "p95, ms", "p99, ms")
    note = (
        f"{load['posts_per_second']} posts/s, each with an image. The process held "
        f"{load['memory_mb_after_10_s']:.0f} MB after 10 s of load, "
        f"{load['memory_mb_at_the_end']:.0f} MB at its end. After SIGTERM it ended within "
        f"{stop['stop_seconds']:.1f} s, with exit code {stop['exit_code']}. "
        f"{slow['cut']} half-open connections were cut after {slow['head_seconds']} s."
    )
    return f"{_markdown(head, rows)}\n{note}\n"


def _noted(header: Sequence[str], rows: Sequence[Sequence[str]], note: str) -> str:
    return f"{_markdown(header, rows)}\n{note}\n"


TABLES: dict[str, Callable[[Any], str]] = {
    "attention-generated-posts": _attention,
    "agreement": _agreement,
    "bench": _bench,
    "bulk": lambda results: _noted(*bulk_table(results)),
    "bulk-faults": lambda results: _noted(*bulk_faults_table(results)),
    "clusters": _clusters,
    "constraints": _constraints,
    "faithfulness": _faithfulness,
    "feature-ideas": lambda content: _markdown(*feature_ideas(content)),
    "ideas": _ideas,
    "missing-modality": _missing,
    "mvsa-single-faults": _faults,
    "pointing": _pointing,
    "reliability": _reliability,
    "scale": _scale,
    **{
        name: lambda content, rows=rows: _markdown(*rows(content))
        for name, rows in SCALING_ROWS.items()
    },
}

MVSA_ROWS = (
    *("text-cnn", "bilstm", "bert", "resnet", "vit", "multisentinet", "hsan", "co-mn-hop6"),
    *("mgnns", "clmlf", "clmlf-faithful", "concat2", "concat3", "mmsd", "dr-net"),
    *("logreg", "late-fusion", "mfs", "tgf", "mvcn", "default", "best"),
)
HFM_ROWS = ("text-cnn", "bilstm", "bert", "concat3", "mmsd")
TABLES_OF_CELLS: dict[str, Callable[[], str]] = {
    "ideas-folds": lambda: _experiment_beside(
        RESULTS / "ideas-folds", "default", RESULTS / "best-folds"
    ),
    "systems": lambda: _systems("mvsa-single", ("published-table", "ablation", "best"), MVSA_ROWS),
    "systems-hfm": lambda: _systems("hfm", ("published-hfm",), HFM_ROWS),
}
"""Tables made of several experiments."""

SOURCES = {
    "agreement": "mvsa-single-faults",
    "clusters": "explanations",
    "faithfulness": "explanations",
    "pointing": "attention-generated-posts",
    **dict.fromkeys(SCALING_ROWS, "scaling"),
}
"""Name of a table -> the file of results that it is of, where that has another name."""

if __name__ == "__main__":
    typer.run(main)
