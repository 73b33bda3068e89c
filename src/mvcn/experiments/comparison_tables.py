"""Results as tables in Markdown, LaTeX and CSV, next to published ones, and their differences."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mvcn.errors import count_of
from mvcn.evaluation.metrics import METRIC_TITLES
from mvcn.evaluation.significance import Difference
from mvcn.experiments.compare import Comparison, Results, Spread, Variant
from mvcn.experiments.grid import TEST
from mvcn.experiments.learning_curve import ALWAYS, LearningCurve, learning_curves
from mvcn.experiments.published import published_results
from mvcn.outputs import begins_with

Format = Literal["markdown", "latex", "csv"]
PERCENT = 100
SMALLEST_P = 0.001
SIGNIFICANT_P = 0.05
COLUMNS = ("accuracy", "f1_weighted", "f1_macro")
BINARY = "f1_binary"
"""Shown with the others where there are two classes."""
TWO = 2
SMALLEST_ENSEMBLE = 3
SECONDS = "training, core-seconds"
TWICE_SHOWN = ("accuracy", "f1_weighted")
"""Metrics that are also shown without the posts that have a near-duplicate in train."""
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
HEADING = "posts; mean ± standard deviation over seeds."
CSV_COLUMNS = ("data", "variant", "seed", "posts")
UNKNOWN = "Whether a published number is a mean or a single run is not known."
CAUTION = (
    "Published numbers are of test splits, ours of dev posts or folds, so they are not directly "
    f"comparable. {UNKNOWN}"
)
CAUTION_ABOUT_TEST = (
    f"Published numbers are of other test splits, so they are not directly comparable. {UNKNOWN}"
)


@dataclass(frozen=True, slots=True)
class Table:
    """Cells of text, the header first."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def render(results: Sequence[Results], form: Format) -> str:
    """Return tables and sentences about the results in the given format.

    CSV has only the scores, with all digits and one line per seed.
    """
    if form == "csv":
        return _csv(results)
    blocks = [block for curve in learning_curves(results) for block in _curve_blocks(curve, form)]
    blocks += [block for one in results for block in _blocks(one, form)]
    return "\n\n".join(blocks) + "\n"


def is_rendered(path: Path) -> bool:
    """Return whether a file begins with tables of `render` in any format."""
    marks = (HEADING, _escaped(HEADING), ",".join(CSV_COLUMNS))
    return any(begins_with(path, mark) for mark in marks)


def evaluated_on(results: Results) -> str:
    """Return the posts that results are of, for a heading."""
    if results.num_folds is None:
        return "dev split"
    if results.split == TEST:
        return f"test posts of {count_of(results.num_folds, 'published fold')}"
    return f"{results.num_folds} folds of train and dev"


def sentences(results: Results) -> Iterator[str]:
    """Yield the meaning of each comparison, the limits of the tests, and what is left out."""
    for comparison in results.comparisons:
        yield _sentence(comparison, len(results.comparisons))
    yield from _without_learning(results.variants)
    if any(comparison.fewest_seeds == 1 for comparison in results.comparisons):
        yield (
            "For a variant with one seed, the variation of scores between seeds is unknown and may "
            "explain a difference."
        )
    tested = {c.shared_seeds for c in results.comparisons if c.seeds_p is not None}
    if 0 in tested:
        yield "Variants that share no seed are compared by an unpaired test over seeds."
    for seeds in sorted(tested - {0}):
        yield (
            f"With {count_of(seeds, 'shared seed')} the smallest p-value of the "
            f"exact test over seeds is {min(1.0, 2 / 2**seeds):.3g}."
        )
    ensembles = [_ensemble(one) for one in results.variants if len(one.seeds) >= SMALLEST_ENSEMBLE]
    if ensembles:
        yield (
            "The mean of the probabilities of all seeds, accuracy / weighted F1: "
            f"{', '.join(ensembles)}."
        )
    if results.incomplete:
        yield f"Left out because folds are missing: {'; '.join(results.incomplete)}."


def _without_learning(variants: Sequence[Variant]) -> Iterator[str]:
    for one in variants:
        if same := sum(len(set(predicted.tolist())) == 1 for predicted in one.predicted):
            yield (
                f"{one.name} has learned nothing in {same} of {count_of(len(one.seeds), 'seed')}: "
                "it predicts the same class for all posts."
            )


def scores_table(results: Results) -> Table:
    """Return the scores of each variant, mean ± standard deviation over seeds in percent."""
    metrics = _metrics(results)
    has_calibration = any(one.calibration_error is not None for one in results.variants)
    header = ["variant", "seeds", *(METRIC_TITLES[metric] for metric in metrics)]
    header += [f"{METRIC_TITLES[metric]} without near-duplicates" for metric in TWICE_SHOWN]
    header += ["calibration error"] if has_calibration else []
    rows = [_scores(one, metrics, has_calibration) for one in results.variants]
    return Table([*header, SECONDS], rows)


def differences_table(results: Results) -> Table:
    """Return each variant's difference to the baseline, in percentage points, with p-values."""
    header = ["compared", "accuracy", "95 % interval", "weighted F1", "95 % interval"]
    header += ["p (Holm)", "p over seeds", "p over posts"]
    return Table(header, [_differences(comparison) for comparison in results.comparisons])


def curve_table(curve: LearningCurve) -> Table:
    """Return accuracy / weighted F1 of each variant by the number of training posts."""
    always = " / ".join(f"{PERCENT * curve.most_frequent(metric):.1f}" for metric in TWICE_SHOWN)
    rows = [
        [
            str(point.train_posts),
            *(
                " / ".join(_percent(curve.variant(i, name).spread(m)) for m in TWICE_SHOWN)
                for name in curve.names
            ),
            always,
        ]
        for i, point in enumerate(curve.points)
    ]
    return Table(["training posts", *curve.names, ALWAYS], rows)


def curve_differences_table(curve: LearningCurve) -> Table:
    """Return each variant's differences to the baseline, with 95 % intervals over posts and draws.

    In percentage points.
    """
    header = ["training posts", "compared", "accuracy", "95 % interval", "weighted F1"]
    rows = [
        [str(point.train_posts), *_differences(comparison)[:5]]
        for point in curve.points
        for comparison in point.comparisons
        if comparison.variant in curve.names
    ]
    return Table([*header, "95 % interval"], rows)


def published_table(data: str) -> Table | None:
    """Return the published numbers for a dataset, each with its split and F1 convention."""
    systems = published_results().get(data)
    if systems is None:
        return None
    rows = [
        [name, f"{one['accuracy']:.2f}", f"{one['f1']:.2f}", one["which"], one["split"]]
        for name, one in systems.items()
    ]
    return Table(["published", "accuracy", "F1", "which F1", "split"], rows)


def _curve_blocks(curve: LearningCurve, form: Format) -> Iterator[str]:
    show, text = FORMS[form]
    names = ", ".join(point.data for point in curve.points)
    yield text(
        f"Learning curve of {names}: accuracy / weighted F1 on the same "
        f"{curve.points[0].num_posts} {HEADING}"
    )
    yield show(curve_table(curve))
    if any(point.comparisons for point in curve.points):
        yield show(curve_differences_table(curve))


def _blocks(results: Results, form: Format) -> Iterator[str]:
    show, text = FORMS[form]
    yield text(f"{results.data}, {evaluated_on(results)}, {results.num_posts} {HEADING}")
    yield show(scores_table(results))
    if results.comparisons:
        yield show(differences_table(results))
    notes = "\n".join(text(sentence) for sentence in sentences(results))
    if notes:
        yield notes
    published = published_table(results.data)
    if published is not None:
        yield show(published)
        yield text(CAUTION_ABOUT_TEST if results.split == TEST else CAUTION)


def _metrics(results: Results) -> list[str]:
    is_binary = bool(results.variants) and results.variants[0].num_classes == TWO
    return [*COLUMNS, BINARY] if is_binary else list(COLUMNS)


def _ensemble(variant: Variant) -> str:
    accuracy, f1 = (PERCENT * variant.ensemble_score(metric) for metric in TWICE_SHOWN)
    return f"{variant.name} {accuracy:.1f} / {f1:.1f}"


def _scores(variant: Variant, metrics: Sequence[str], has_calibration: bool) -> list[str]:
    cells = [_percent(variant.spread(metric)) for metric in metrics]
    for metric in TWICE_SHOWN:
        some = variant.has_no_near_duplicate.any()
        cells.append(_percent(variant.spread(metric, near_duplicates=False)) if some else "-")
    if has_calibration:
        error = variant.calibration_error
        cells.append("-" if error is None else _percent(error))
    seconds = "-" if variant.seconds is None else f"{variant.seconds.mean:.0f}"
    return [variant.name, str(len(variant.seeds)), *cells, seconds]


def _differences(comparison: Comparison) -> list[str]:
    return [
        f"{comparison.variant} against {comparison.baseline}",
        *(_points(comparison.accuracy.mean), _interval(comparison.accuracy)),
        *(_points(comparison.difference.mean), _interval(comparison.difference)),
        _p(comparison.corrected_p),
        "-" if comparison.seeds_p is None else _p(comparison.seeds_p),
        _p(comparison.posts_p),
    ]


def _sentence(comparison: Comparison, count: int) -> str:
    """Return the meaning of a comparison, one of `count` with the same baseline."""
    variant, baseline, mean = comparison.variant, comparison.baseline, comparison.difference.mean
    over = " over posts alone" if comparison.fewest_seeds == 1 else ""
    interval = f"95 % interval{over} {_interval(comparison.difference)}"
    points = f"{variant} against {baseline}: {_points(mean)} points of weighted F1 ({interval})"
    if comparison.difference.is_noise:
        return f"{points} is within noise."
    if comparison.corrected_p > SIGNIFICANT_P:
        p = _p(comparison.corrected_p)
        return f"{points} may be due to chance: p = {p} after correction for {count} comparisons."
    word = "better" if mean > 0 else "worse"
    return (
        f"{variant} is {word} than {baseline} by {PERCENT * abs(mean):.1f} points of weighted F1 "
        f"({interval})."
    )


def _interval(difference: Difference) -> str:
    return f"{_points(difference.interval[0])} to {_points(difference.interval[1])}"


def _percent(spread: Spread) -> str:
    """Return mean ± standard deviation, or only the mean of a single seed."""
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
    begin = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
    end = [r"\bottomrule", r"\end{tabular}"]
    return "\n".join([*begin, lines[0], r"\midrule", *lines[1:], *end])


def _escaped(text: str) -> str:
    return text.translate(LATEX_SIGNS)


FORMS: dict[str, tuple[Callable[[Table], str], Callable[[str], str]]] = {
    "markdown": (_markdown, str),
    "latex": (_latex, _escaped),
}
"""Format -> functions that format tables and sentences."""


def _csv(results: Sequence[Results]) -> str:
    writer = csv.writer(stream := io.StringIO(), lineterminator="\n")
    metrics = list(dict.fromkeys(metric for one in results for metric in _metrics(one)))
    writer.writerow([*CSV_COLUMNS, *metrics])
    for one in results:
        for variant in one.variants:
            scores = zip(*(variant.scores(name).tolist() for name in _metrics(one)), strict=True)
            for seed, values in zip(variant.seeds, scores, strict=True):
                writer.writerow([one.data, variant.name, seed, one.num_posts, *map(repr, values)])
    return stream.getvalue()
