"""Results as tables in Markdown, LaTeX and CSV, and the differences in words."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Literal

from mvcn.experiments.compare import Comparison, Results, Row, Spread
from mvcn.strict_yaml import parse_yaml

Format = Literal["markdown", "latex", "csv"]
PERCENT = 100
SMALLEST_P = 0.001
COLUMNS = {"accuracy": "accuracy", "f1_weighted": "weighted F1", "f1_macro": "macro F1"}
LATEX_SIGNS = str.maketrans(
    {
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
    }
)
CAUTION = (
    "Published numbers are of the test part, ours of dev posts or folds: neither is a claim to "
    "beat the other."
)


@dataclass(frozen=True, slots=True)
class Table:
    """Cells of text, the header first."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def render(results: Sequence[Results], form: Format) -> str:
    """Return all that there is to say of the results, in the given format.

    CSV has the scores alone, with all digits, one row a seed.
    """
    if form == "csv":
        return _csv(results)
    blocks = [block for one in results for block in _blocks(one, form)]
    return "\n\n".join(blocks) + "\n"


def sentences(results: Results) -> Iterator[str]:
    """Yield what each comparison means, and what was left out."""
    for comparison in results.comparisons:
        yield _sentence(comparison)
    if results.comparisons and all(c.seeds_p is not None for c in results.comparisons):
        seeds = len(results.rows[0].seeds)
        yield (
            f"With {seeds} seeds the exact test over seeds cannot give less than "
            f"p = {_p(min(1.0, 2 / 2**seeds))}."
        )
    if results.incomplete:
        yield f"Left out, since folds lack: {'; '.join(results.incomplete)}."


def scores_table(results: Results) -> Table:
    """Return the scores of each row, mean ± deviation over seeds in percent."""
    header = [
        "row",
        "seeds",
        *COLUMNS.values(),
        "weighted F1 without near-duplicates",
        "training, s",
    ]
    return Table(header, [_scores(row) for row in results.rows])


def differences_table(results: Results) -> Table:
    """Return each row beside the baseline, in percentage points of weighted F1."""
    header = ["weighted F1 beside the baseline", "difference", "95 % interval", "p (Holm)"]
    header += ["p over seeds", "p over posts"]
    return Table(header, [_differences(comparison) for comparison in results.comparisons])


def published_table(data: str) -> Table | None:
    """Return published numbers for a data set, with split and F1 convention in the header."""
    text = (resources.files("mvcn") / "experiments" / "published.yaml").read_text("utf-8")
    about = parse_yaml(text, "published.yaml").get(data)
    if about is None:
        return None
    rows = [
        [name, f"{accuracy:.2f}", f"{f1:.2f}"] for name, (accuracy, f1) in about["systems"].items()
    ]
    return Table([f"published ({about['split']})", "accuracy", about["f1"]], rows)


def _blocks(results: Results, form: Format) -> Iterator[str]:
    show, text = FORMS[form]
    part = f"{results.num_folds} folds" if results.num_folds else "dev part"
    yield text(f"{results.data}, {part}, {results.num_posts} posts; mean ± deviation over seeds.")
    yield show(scores_table(results))
    if results.comparisons:
        yield show(differences_table(results))
    said = list(sentences(results))
    if said:
        yield "\n".join(text(sentence) for sentence in said)
    published = published_table(results.data)
    if published is not None:
        yield show(published)
        yield text(CAUTION)


def _scores(row: Row) -> list[str]:
    metrics = [_percent(row.spread(metric)) for metric in COLUMNS]
    fresh = _percent(row.spread("f1_weighted", fresh=True)) if row.is_fresh.any() else "-"
    return [row.name, str(len(row.seeds)), *metrics, fresh, f"{row.seconds.mean:.0f}"]


def _differences(comparison: Comparison) -> list[str]:
    low, high = comparison.difference.interval
    return [
        f"{comparison.row} against {comparison.baseline}",
        _points(comparison.difference.mean),
        f"{_points(low)} to {_points(high)}",
        _p(comparison.corrected_p),
        "-" if comparison.seeds_p is None else _p(comparison.seeds_p),
        _p(comparison.posts_p),
    ]


def _sentence(comparison: Comparison) -> str:
    mean, (low, high) = comparison.difference.mean, comparison.difference.interval
    interval = f"95 % interval {_points(low)} to {_points(high)}"
    if comparison.difference.is_noise:
        return (
            f"{comparison.row} against {comparison.baseline}: {_points(mean)} points of weighted "
            f"F1 ({interval}) is within noise."
        )
    word = "better" if mean > 0 else "worse"
    return (
        f"{comparison.row} is {word} than {comparison.baseline} by {PERCENT * abs(mean):.1f} "
        f"points of weighted F1 ({interval})."
    )


def _percent(spread: Spread) -> str:
    return f"{PERCENT * spread.mean:.1f} ± {PERCENT * spread.deviation:.1f}"


def _points(share: float) -> str:
    return f"{PERCENT * share:+.1f}"


def _p(value: float) -> str:
    return f"< {SMALLEST_P}" if value < SMALLEST_P else f"{value:.3f}"


def _markdown(table: Table) -> str:
    lines = [table.header, ["---"] * len(table.header), *table.rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def _latex(table: Table) -> str:
    lines = [" & ".join(map(_escaped, line)) + r" \\" for line in (table.header, *table.rows)]
    columns = "l" + "r" * (len(table.header) - 1)
    return "\n".join(
        [
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def _escaped(text: str) -> str:
    return text.translate(LATEX_SIGNS)


def _plain(text: str) -> str:
    return text


FORMS: dict[str, tuple[Callable[[Table], str], Callable[[str], str]]] = {
    "markdown": (_markdown, _plain),
    "latex": (_latex, _escaped),
}
"""Format -> how tables and sentences are written in it."""


def _csv(results: Sequence[Results]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["data", "row", "seed", "posts", *COLUMNS])
    for one in results:
        for row in one.rows:
            scores = zip(*(row.scores(metric).tolist() for metric in COLUMNS), strict=True)
            for seed, values in zip(row.seeds, scores, strict=True):
                writer.writerow([one.data, row.name, seed, one.num_posts, *map(repr, values)])
    return stream.getvalue()
