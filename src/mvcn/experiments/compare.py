"""What the cells of an experiment say together: scores of rows, differences between them."""

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from sklearn.metrics import confusion_matrix

from mvcn.errors import MvcnError
from mvcn.evaluation.significance import (
    METRICS,
    Difference,
    holm,
    mcnemar_test,
    paired_bootstrap,
    sign_flip_test,
)
from mvcn.experiments.cell import CellResult

HEADLINE = "f1_weighted"
"""The metric by which differences are put into words: the convention for MVSA."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A mean over seeds."""

    mean: float
    deviation: float
    """Sample standard deviation; 0 of a single seed."""


@dataclass(frozen=True, slots=True)
class Row:
    """The predictions of one row of an experiment; of a seed, those of all folds together."""

    name: str
    seeds: tuple[int, ...]
    labels: Int[np.ndarray, " batch"]
    predicted: Int[np.ndarray, "seeds batch"]
    is_fresh: Bool[np.ndarray, " batch"]
    """Whether no training post of the split has nearly the same text."""
    num_classes: int
    seconds: Spread
    """Of one training; with folds, of all folds together."""

    def scores(self, metric: str, *, fresh: bool = False) -> Float[np.ndarray, " seeds"]:
        """Return a metric of `METRICS` a seed, over all posts or those without a near-duplicate."""
        chosen = self.is_fresh if fresh else np.ones(len(self.labels), dtype=bool)
        matrices = [
            confusion_matrix(self.labels[chosen], row[chosen], labels=range(self.num_classes))
            for row in self.predicted
        ]
        return METRICS[metric](np.array(matrices, dtype=float))

    def spread(self, metric: str, *, fresh: bool = False) -> Spread:
        """Return mean and deviation of `scores`."""
        return _spread(self.scores(metric, fresh=fresh).tolist())


@dataclass(frozen=True, slots=True)
class Comparison:
    """A row beside the baseline."""

    row: str
    baseline: str
    difference: Difference
    """Of the weighted F1."""
    corrected_p: float
    """The bootstrap's p-value after Holm's correction for the number of rows compared."""
    seeds_p: float | None
    """By sign flips over the seeds that both have; None where they share none."""
    posts_p: float
    """McNemar's, of the two majority votes over seeds."""


@dataclass(frozen=True, slots=True)
class Results:
    """All rows of an experiment on one data set."""

    data: str
    num_posts: int
    num_folds: int | None
    rows: Sequence[Row]
    comparisons: Sequence[Comparison]
    """One for each row but the baseline."""
    incomplete: Sequence[str]
    """Rows and seeds of which a fold lacks; they are in no table."""


def compare(cells: Sequence[CellResult], baseline: str | None = None) -> list[Results]:
    """Return the results on each data set, rows in the order of their first cells.

    Args:
        cells: As `read_cells` returns them, of one experiment or several.
        baseline: The row that the others are compared with; by default the first.

    Raises:
        MvcnError: Cells that judge different posts, or no row of the baseline's name.
    """
    by_data: dict[str, list[CellResult]] = defaultdict(list)
    for cell in cells:
        by_data[cell.data].append(cell)
    return [_results(data, of_data, baseline) for data, of_data in by_data.items()]


def _results(data: str, cells: Sequence[CellResult], baseline: str | None) -> Results:
    folds = {cell.fold for cell in cells}
    if None in folds and len(folds) > 1:
        raise MvcnError(f"The results on {data} mix folds and a fixed split: compare them apart.")
    num_folds = None if None in folds else len(folds)
    groups: dict[str, dict[int, list[CellResult]]] = defaultdict(lambda: defaultdict(list))
    for cell in cells:
        groups[cell.row][cell.seed].append(cell)
    incomplete = [
        f"{row}, seed {seed}"
        for row, seeds in groups.items()
        for seed, of_seed in list(seeds.items())
        if len(of_seed) != (num_folds or 1)
    ]
    rows = [
        _row(name, whole)
        for name, seeds in groups.items()
        if (whole := {s: c for s, c in seeds.items() if f"{name}, seed {s}" not in incomplete})
    ]
    _require_same_posts(data, groups, incomplete)
    comparisons = _comparisons(rows, baseline) if rows else []
    num_posts = len(rows[0].labels) if rows else 0
    return Results(data, num_posts, num_folds, rows, comparisons, incomplete)


def _row(name: str, seeds: Mapping[int, Sequence[CellResult]]) -> Row:
    whole = {seed: _in_order(cells) for seed, cells in sorted(seeds.items())}
    first = next(iter(whole.values()))
    seconds = [sum(cell.seconds["training"] for cell in cells) for cells in whole.values()]
    return Row(
        name,
        tuple(whole),
        np.concatenate([cell.labels for cell in first]),
        np.array([np.concatenate([cell.predicted for cell in cells]) for cells in whole.values()]),
        ~np.concatenate([cell.has_near_duplicate for cell in first]),
        len(first[0].class_names),
        _spread(seconds),
    )


def _in_order(cells: Sequence[CellResult]) -> list[CellResult]:
    return sorted(cells, key=lambda cell: -1 if cell.fold is None else cell.fold)


def _require_same_posts(
    data: str,
    groups: Mapping[str, Mapping[int, Sequence[CellResult]]],
    incomplete: Sequence[str],
) -> None:
    judged = {
        (row, seed): tuple(cell.posts_digest for cell in _in_order(cells))
        for row, seeds in groups.items()
        for seed, cells in seeds.items()
        if f"{row}, seed {seed}" not in incomplete
    }
    for (row, seed), digests in judged.items():
        if digests != next(iter(judged.values())):
            raise MvcnError(
                f"On {data}, row '{row}' with seed {seed} judges other posts than the first row: "
                "run all rows on the same splits."
            )


def _comparisons(rows: Sequence[Row], baseline: str | None) -> list[Comparison]:
    by_name = {row.name: row for row in rows}
    first = by_name.get(baseline or rows[0].name)
    if first is None:
        raise MvcnError(f"There is no row '{baseline}': the rows are {', '.join(by_name)}.")
    others = [row for row in rows if row is not first]
    found = [_difference(first, row) for row in others]
    corrected = holm([difference.p_value for difference in found])
    return [
        Comparison(row.name, first.name, difference, p, _seeds_p(first, row), _posts_p(first, row))
        for row, difference, p in zip(others, found, corrected, strict=True)
    ]


def _difference(first: Row, second: Row) -> Difference:
    return paired_bootstrap(
        first.labels, first.predicted, second.predicted, first.num_classes, METRICS[HEADLINE]
    )


def _seeds_p(first: Row, second: Row) -> float | None:
    shared = sorted(set(first.seeds) & set(second.seeds))
    if not shared:
        return None
    one, other = (
        row.scores(HEADLINE)[[row.seeds.index(seed) for seed in shared]] for row in (first, second)
    )
    return sign_flip_test((other - one).tolist())


def _posts_p(first: Row, second: Row) -> float:
    return mcnemar_test(first.labels, _majority(first), _majority(second))


def _majority(row: Row) -> Int[np.ndarray, " batch"]:
    """Return the class that most seeds predict; of equals, the first."""
    votes = (row.predicted[:, :, None] == np.arange(row.num_classes)).sum(0)
    return np.asarray(votes.argmax(-1))


def _spread(values: Sequence[float]) -> Spread:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return Spread(statistics.mean(values), deviation)
