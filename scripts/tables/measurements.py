"""Tables of the files of results: what each file holds, as rows of text."""

from collections.abc import Callable, Mapping
from typing import Any

from mvcn.evaluation.metrics import METRIC_TITLES
from scripts import results
from scripts.tables import explanations, regimes, speed
from scripts.tables.markdown import (
    PERCENT,
    TWO_METRICS,
    difference,
    difference_with_error,
    percent,
    percent_of,
    table,
)
from scripts.tables.peers import peers_in_short, peers_table
from scripts.tables.tasks import tasks_table

MISSING_COLUMNS = {
    "masked": "masked",
    "masked-and-dropout": "masked, modality dropout",
    "zeros": "zeros",
}
ATTENTIONS = ("sparsemax", "softmax")
ATTENTION_ROWS = (
    ("mass on the patch, posts whose image decides the label", "image_decides", "mass"),
    ("mass on the patch, posts whose text decides it", "text_decides", "mass"),
    ("mass on the patch, all posts", "all", "mass"),
    ("mass on the patch, untrained", "untrained", "mass"),
    ("strongest token on the patch, posts whose image decides", "image_decides", "hit_rate"),
    ("weights that are exactly zero, all posts", "all", "zeros"),
)


def measured(name: str) -> str:
    """Return a table of `TABLES`, of results/NAME.json or of the file that `FILES` has for it."""
    content = results.read(FILES.get(name, name))
    return TABLES[name](content) if content else "Not measured yet with this version.\n"


def _attention(content: Mapping[str, Any]) -> str:
    """Attention mass on the known patch for both normalisations, with chance and the untrained."""
    rows = [
        [
            name,
            *(
                percent_of(content["summary"][kind]["attention"][key][measure])
                for kind in ATTENTIONS
            ),
        ]
        for name, key, measure in ATTENTION_ROWS
    ]
    note = (
        f"{content['data'].capitalize()}; recipe `{content['recipe']}`, mean ± standard deviation "
        f"over {len(content['seeds'])} seeds, in percent. By chance the mass would be "
        f"{percent(content['chance']['mass'])}."
    )
    return table(["", *ATTENTIONS], rows, note)


def _pointing(content: Mapping[str, Any]) -> str:
    """Hit rate of each explanation on the known patch."""
    methods = list(content["summary"][ATTENTIONS[0]]["pointing"])
    rows = [
        [method, *(percent_of(content["summary"][kind]["pointing"][method]) for kind in ATTENTIONS)]
        for method in methods
    ]
    note = (
        f"{content['data'].capitalize()}; dev posts whose image decides, mean ± standard "
        f"deviation over {len(content['seeds'])} seeds, in percent. By chance it would be "
        f"{percent(content['chance']['mass'])}."
    )
    return table(["explanation", *ATTENTIONS], rows, note)


def _attention_on_real_posts(content: Mapping[str, Any]) -> str:
    """How concentrated each normalisation is over posts of a dataset."""
    rows = [
        [
            kind,
            percent(found["zeros"]),
            *(percent(sum(found["mean_weights"][:n])) for n in (1, 3, 10)),
        ]
        for kind, found in ((kind, content[kind]) for kind in ATTENTIONS)
    ]
    header = ("attention", "weights that are exactly zero, %", "strongest patch, %")
    note = f"{content['posts']}; mean over posts, heads and text tokens."
    return table((*header, "strongest 3, %", "strongest 10, %"), rows, note)


def _missing(content: Mapping[str, Any]) -> str:
    """Scores by what posts have, for each way to represent what is missing."""
    summary, first = content["summary"], content["seeds"]["masked"]
    rows = [
        [
            f"{kind} ({first[0][kind]['n']} posts)",
            *(
                percent_of(summary[way][kind][metric])
                for way in MISSING_COLUMNS
                for metric in TWO_METRICS
            ),
        ]
        for kind in summary["masked"]
    ]
    header = [
        f"{words}, {METRIC_TITLES[metric]}"
        for words in MISSING_COLUMNS.values()
        for metric in TWO_METRICS
    ]
    taken = content["taken_away"]
    note = (
        f"{content['data']}; {PERCENT * taken['image']:.0f} % of the posts without their image and "
        f"{PERCENT * taken['text']:.0f} % without their text, in train and dev alike. Mean ± "
        f"standard deviation over {len(first)} seeds, in percent."
    )
    return table(["dev posts", *header], rows, note)


def _faults(content: Mapping[str, Any]) -> str:
    """What the audit finds."""
    rows = [[one["title"], str(one["count"]), one["summary"]] for one in content["findings"]]
    splits = ", ".join(f"{split} {count:,}" for split, count in content["posts"].items())
    return table(["finding", "number", ""], rows, f"{splits} posts.")


def _agreement(content: Mapping[str, Any]) -> str:
    """How often two posts that are equal carry the same label."""
    rows = [
        [kind.replace("_", " "), str(found["groups"]), f"{PERCENT * found['share']:.0f}"]
        for kind, found in content["agreement"].items()
    ]
    return table(["equal", "groups of posts", "two posts of a group have one label, %"], rows)


def _whitespace(content: Mapping[str, Any]) -> str:
    """How well whitespace alone predicts labels."""
    rows = [
        [
            split,
            f"{content[split]['n']:,}",
            percent(content[split]["accuracy_of_whitespace_alone"]),
            percent(content[split]["share_of_majority"]),
        ]
        for split in ("train", "dev")
    ]
    header = ["split", "posts", "accuracy of whitespace alone, %", "of the most frequent class, %"]
    return table(header, rows)


def _ideas(content: Mapping[str, Any]) -> str:
    """What was tried for the best recipe: mean scores of folds, compared with a reference."""
    rows = [
        [
            idea["idea"],
            f"{idea['posts']:,}",
            *(
                f"{difference(idea[m], idea['reference'][m])}, {_points(*idea['intervals'][m])}"
                for m in TWO_METRICS
            ),
        ]
        for idea in content["ideas"]
    ]
    header = ["idea", "posts", *(f"{METRIC_TITLES[metric]}, %" for metric in TWO_METRICS)]
    return table(header, rows, content["protocol"])


def _points(low: float, high: float) -> str:
    return f"{PERCENT * low:+.1f} to {PERCENT * high:+.1f}"


def _feature_ideas(content: Mapping[str, Any]) -> str:
    """Each idea's mean, and its difference to the first, fold by fold."""
    reference = next(iter(content["ideas"].values()))
    rows = [
        [name, *(difference_with_error(scores[m], reference[m]) for m in TWO_METRICS)]
        for name, scores in content["ideas"].items()
    ]
    return table(["idea", *(f"{METRIC_TITLES[metric]}, %" for metric in TWO_METRICS)], rows)


def _bulk_faults(content: Mapping[str, Any]) -> str:
    """What is in the output after each fault."""
    numbers = ("shards_before", "scored_again", "rows_out", "rows_twice")
    rows = [
        [
            fault,
            *(f"{found[key]:,}" for key in numbers),
            "yes" if found["as_if_nothing_had_happened"] else "no",
        ]
        for fault, found in content["faults"].items()
    ]
    header = ("fault", "shards finished before", "of them scored again", "rows out", "rows twice")
    note = f"{content['rows_in']:,} rows in {content['files']} files."
    return table((*header, "same bytes as without it"), rows, note)


def _reliability(content: Mapping[str, Any]) -> str:
    """What clients of a service under load see."""
    load, stop, slow = (content[name] for name in ("load", "stop_under_load", "slow_clients"))
    situations = {
        f"{load['clients']} clients, {load['seconds']:g} s": load,
        f"SIGTERM while {stop['clients']} clients ask": stop,
        f"{slow['clients']} clients": slow["without"],
        f"{slow['clients']} clients next to {slow['half_open']} half-open ones": slow[
            "with_half_open"
        ],
    }
    rows = [
        [name, *(str(seen["outcomes"].get(one, 0)) for one in ("200", "429", "503", "lost"))]
        + [str(value) for value in seen["latency_ms"].values()]
        for name, seen in situations.items()
    ]
    header = ("", "answered", "429", "503", "lost", "p50, ms", "p95, ms", "p99, ms")
    note = (
        f"{load['posts_per_second']} posts/s, each with an image. The process held "
        f"{load['memory_mb_after_10_s']:.0f} MB after 10 s of load, "
        f"{load['memory_mb_at_the_end']:.0f} MB at its end. After SIGTERM it ended within "
        f"{stop['stop_seconds']:.1f} s, with exit code {stop['exit_code']}. "
        f"{slow['closed']} half-open connections were closed after {slow['head_seconds']} s."
    )
    return table(header, rows, note)


def _out_of_fold(content: Mapping[str, Any]) -> str:
    """Out-of-fold scores of a run next to its scores on posts that took no part in it."""
    kinds = {
        "out_of_fold": "out of fold",
        "unseen": "unseen posts",
        "above_out_of_fold": "difference",
        "script": "plain script, unseen posts",
        "above_script": "above the script",
    }
    rows = [
        [
            f"{int(posts):,}",
            *(" / ".join(percent_of(found[kind][name]) for name in TWO_METRICS) for kind in kinds),
        ]
        for posts, found in content["summary"].items()
    ]
    note = (
        f"Recipe `default`, accuracy / weighted F1 in percent, mean ± standard deviation over "
        f"{_num_draws(content)} draws of training posts. Unseen: {content['data']}. "
        "Script: a logistic regression on the encoders' mean tokens, without the separate labels "
        "of text and image, which `default` learns from."
    )
    return table(["training posts", *kinds.values()], rows, note)


def _disagreement(content: Mapping[str, Any]) -> str:
    """Areas under the risk-coverage curves of two reasons to give no label."""
    header = ["training posts", "by probability", "by disagreement", "difference"]
    names = ("probability", "disagreement", "difference")
    rows = [
        [f"{int(posts):,}", *(percent_of(areas[name]) for name in names)]
        for posts, areas in content["summary"].items()
    ]
    note = (
        "Area under the risk-coverage curve, the mean error over all shares of posts that get a "
        f"label, in percent; lower is better. Recipe `default` on {content['data']}; mean ± "
        f"standard deviation over {_num_draws(content)} draws of training posts."
    )
    return table(header, rows, note)


def _num_draws(content: Mapping[str, Any]) -> int:
    return len(next(iter(content["draws"].values())))


TABLES: dict[str, Callable[[Any], str]] = {
    **regimes.TABLES,
    **explanations.TABLES,
    **speed.TABLES,
    "agreement": _agreement,
    "attention-generated-posts": _attention,
    "attention-real-posts": _attention_on_real_posts,
    "bulk-faults": _bulk_faults,
    "disagreement": _disagreement,
    "feature-ideas": _feature_ideas,
    "hfm-whitespace": _whitespace,
    "ideas": _ideas,
    "missing-modality": _missing,
    "mvsa-single-faults": _faults,
    "out-of-fold": _out_of_fold,
    "peers": peers_table,
    "peers-in-short": peers_in_short,
    "pointing": _pointing,
    "reliability": _reliability,
    "tasks": tasks_table,
}
FILES = {
    "agreement": "mvsa-single-faults",
    "disagreement": "members",
    "out-of-fold": "members",
    "peers-in-short": "peers",
    "pointing": "attention-generated-posts",
    **regimes.FILES,
    **explanations.FILES,
    **speed.FILES,
}
"""Name of a table -> the file of results that it is of, where that has another name."""
