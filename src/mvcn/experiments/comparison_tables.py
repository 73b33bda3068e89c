"""Results as tables in Markdown, LaTeX and CSV, and the differences in words."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mvcn.evaluation.significance import Difference
from mvcn.experiments.compare import Comparison, Results, Row, Spread
from mvcn.experiments.published import published_results

Format = Literal["markdown", "latex", "csv"]
PERCENT = 100
SMALLEST_P = 0.001
SIGNIFICANT_P = 0.05
COLUMNS = {"accuracy": "accuracy", "f1_weighted": "weighted F1", "f1_macro": "macro F1"}
BINARY = {"f1_binary": "F1 of the second class"}
"""Shown beside the others where there are two classes."""
TWO = 2
FEWEST_VOTERS = 3
FRESH = ("accuracy", "f1_weighted")
"""Metrics that are shown without the posts that have a near-duplicate in train, too."""
LATEX_SIGNS = str.maketrans(
    {
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
    }
)
CAUTION = (
    "Published numbers are of test parts, ours of dev posts or folds: neither is a claim to "
    "beat the other. Whether a published number is a mean or one run is not known."
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
    """Yield what each comparison means, what the tests cannot show, and what was left out."""
    for comparison in results.comparisons:
        yield _sentence(comparison, len(results.comparisons))
    if any(comparison.fewest_seeds == 1 for comparison in results.comparisons):
        yield (
            "Where a row has one seed, nothing tells how much its scores change with the seed: "
            "a difference may be no more than that."
        )
    tested = {c.shared_seeds for c in results.comparisons if c.seeds_p is not None}
    if 0 in tested:
        yield "Rows that share no seed are tested over seeds as if unpaired."
    for seeds in sorted(tested - {0}):
        yield (
            f"With {seeds} shared seed{'s' if seeds > 1 else ''} the exact test over seeds cannot "
            f"give less than p = {min(1.0, 2 / 2**seeds):.3g}."
        )
    ensembles = [_ensemble(row) for row in results.rows if len(row.seeds) >= FEWEST_VOTERS]
    if ensembles:
        yield f"A vote of all seeds, accuracy / weighted F1: {', '.join(ensembles)}."
    if results.incomplete:
        yield f"Left out, since folds lack: {'; '.join(results.incomplete)}."


def scores_table(results: Results) -> Table:
    """Return the scores of each row, mean ± deviation over seeds in percent."""
    header = ["row", "seeds", *_columns(results).values()]
    header += [f"{COLUMNS[metric]} without near-duplicates" for metric in FRESH]
    if _has_calibration(results):
        header.append("calibration error")
    header.append("training, s")
    metrics, has_calibration = list(_columns(results)), _has_calibration(results)
    return Table(header, [_scores(row, metrics, has_calibration) for row in results.rows])


def differences_table(results: Results) -> Table:
    """Return each row beside the baseline, in percentage points; p-values of weighted F1."""
    header = ["beside the baseline", "accuracy", "95 % interval", "weighted F1", "95 % interval"]
    header += ["p (Holm)", "p over seeds", "p over posts"]
    return Table(header, [_differences(comparison) for comparison in results.comparisons])


def published_table(data: str) -> Table | None:
    """Return published numbers for a data set, each with its split and F1 convention."""
    systems = published_results().get(data)
    if systems is None:
        return None
    header = ["published", "accuracy", "F1", "which F1", "split"]
    return Table(header, [_published(name, result) for name, result in systems.items()])


def _published(name: str, result: Mapping[str, Any]) -> list[str]:
    scores = [f"{result[metric]:.2f}" for metric in ("accuracy", "f1")]
    return [name, *scores, result["which"], result["split"]]


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


def _columns(results: Results) -> dict[str, str]:
    return COLUMNS | (BINARY if results.rows and results.rows[0].num_classes == TWO else {})


def _ensemble(row: Row) -> str:
    accuracy, f1 = (PERCENT * row.vote_score(metric) for metric in FRESH)
    return f"{row.name} {accuracy:.1f} / {f1:.1f}"


def _has_calibration(results: Results) -> bool:
    return any(row.calibration_error is not None for row in results.rows)


def _scores(row: Row, metrics: Sequence[str], with_calibration: bool) -> list[str]:
    cells = [_percent(row.spread(metric)) for metric in metrics]
    has_fresh = row.is_fresh.any()
    cells += [_percent(row.spread(metric, fresh=True)) if has_fresh else "-" for metric in FRESH]
    if with_calibration:
        cells.append("-" if row.calibration_error is None else _percent(row.calibration_error))
    return [row.name, str(len(row.seeds)), *cells, f"{row.seconds.mean:.0f}"]


def _differences(comparison: Comparison) -> list[str]:
    return [
        f"{comparison.row} against {comparison.baseline}",
        *(_points(comparison.accuracy.mean), _interval(comparison.accuracy)),
        *(_points(comparison.difference.mean), _interval(comparison.difference)),
        _p(comparison.corrected_p),
        "-" if comparison.seeds_p is None else _p(comparison.seeds_p),
        _p(comparison.posts_p),
    ]


def _sentence(comparison: Comparison, count: int) -> str:
    """Return what a comparison means; `count` rows are compared with the baseline at once."""
    row, baseline, mean = comparison.row, comparison.baseline, comparison.difference.mean
    over = " over posts alone" if comparison.fewest_seeds == 1 else ""
    interval = f"95 % interval{over} {_interval(comparison.difference)}"
    if comparison.difference.is_noise:
        return (
            f"{row} against {baseline}: {_points(mean)} points of weighted F1 ({interval}) is "
            "within noise."
        )
    if comparison.corrected_p > SIGNIFICANT_P:
        return (
            f"{row} against {baseline}: {_points(mean)} points of weighted F1 ({interval}) may be "
            f"chance: p = {_p(comparison.corrected_p)} after correction for {count} comparisons."
        )
    word = "better" if mean > 0 else "worse"
    return (
        f"{row} is {word} than {baseline} by {PERCENT * abs(mean):.1f} points of weighted F1 "
        f"({interval})."
    )


def _interval(difference: Difference) -> str:
    return f"{_points(difference.interval[0])} to {_points(difference.interval[1])}"


def _percent(spread: Spread) -> str:
    """Return mean ± deviation; of a single seed the mean alone."""
    mean = f"{PERCENT * spread.mean:.1f}"
    return mean if spread.deviation is None else f"{mean} ± {PERCENT * spread.deviation:.1f}"


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
    metrics = list(dict.fromkeys(metric for one in results for metric in _columns(one)))
    writer.writerow(["data", "row", "seed", "posts", *metrics])
    for one in results:
        own = list(_columns(one))
        for row in one.rows:
            scores = zip(*(row.scores(metric).tolist() for metric in own), strict=True)
            for seed, values in zip(row.seeds, scores, strict=True):
                writer.writerow([one.data, row.name, seed, one.num_posts, *map(repr, values)])
    return stream.getvalue()
