"""What the cells of an experiment say together: scores of rows, differences between them."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from sklearn.metrics import confusion_matrix

from mvcn.errors import MvcnError
from mvcn.evaluation.metrics import METRICS
from mvcn.evaluation.significance import (
    MAX_EXACT_SEEDS,
    Difference,
    holm,
    mcnemar_test,
    paired_bootstrap,
    sign_flip_test,
    two_sample_test,
)
from mvcn.experiments.cell import CellResult

HEADLINE = "f1_weighted"
"""The metric by which differences are put into words: the convention for MVSA."""
CALIBRATION = "expected_calibration_error"


@dataclass(frozen=True, slots=True)
class Spread:
    """A mean over seeds."""

    mean: float
    deviation: float | None
    """Sample standard deviation; None of a single seed, which does not tell it."""


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
    calibration_error: Spread | None = None
    """As the runs report it; None with folds, whose errors have no common bins."""

    def scores(self, metric: str, *, fresh: bool = False) -> Float[np.ndarray, " seeds"]:
        """Return a metric of `METRICS` a seed, over all posts or those without a near-duplicate."""
        chosen = self.is_fresh if fresh else np.ones(len(self.labels), dtype=bool)
        matrices = [
            confusion_matrix(self.labels[chosen], row[chosen], labels=range(self.num_classes))
            for row in self.predicted
        ]
        return METRICS[metric](np.array(matrices, dtype=float))

    def vote(self) -> Int[np.ndarray, " batch"]:
        """Return the class that most seeds predict; of equals, the first."""
        votes = (self.predicted[:, :, None] == np.arange(self.num_classes)).sum(0)
        return np.asarray(votes.argmax(-1))

    def vote_score(self, metric: str) -> float:
        """Return a metric of `METRICS` of the vote: of an ensemble, not of a model."""
        matrix = confusion_matrix(self.labels, self.vote(), labels=range(self.num_classes))
        return float(METRICS[metric](matrix.astype(float)))

    def spread(self, metric: str, *, fresh: bool = False) -> Spread:
        """Return mean and deviation of `scores`."""
        return _spread(self.scores(metric, fresh=fresh).tolist())


@dataclass(frozen=True, slots=True)
class Comparison:
    """A row beside the baseline."""

    row: str
    baseline: str
    difference: Difference
    """Of the weighted F1, and so are the p-values over posts and seeds."""
    accuracy: Difference
    corrected_p: float
    """The bootstrap's p-value after Holm's correction for the number of rows compared."""
    seeds_p: float | None
    """By sign flips over the seeds that both have; by all ways to deal the seeds out where they
    share none; None where there are too many."""
    posts_p: float
    """McNemar's, of the two majority votes over seeds."""
    shared_seeds: int
    fewest_seeds: int
    """Of the two rows; with one, the interval covers other posts but no other seeds."""


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
        MvcnError: No cells, a cell twice, a row of two settings, cells that judge different
            posts, or no whole row of the baseline's name.
    """
    if not cells:
        raise MvcnError("There are no results to compare: name a folder that holds some.")
    by_data: dict[str, list[CellResult]] = defaultdict(list)
    for cell in cells:
        by_data[cell.data].append(cell)
    return [_results(data, of_data, baseline) for data, of_data in by_data.items()]


def _results(data: str, cells: Sequence[CellResult], baseline: str | None) -> Results:
    num_folds = _num_folds(data, cells)
    _require_one_of_each(data, cells)
    _require_same_settings(data, cells)
    whole: dict[str, dict[int, list[CellResult]]] = {cell.row: {} for cell in cells}
    incomplete = []
    for (row, seed), of_seed in _by_row_and_seed(cells).items():
        if len(of_seed) == (num_folds or 1):
            whole[row][seed] = of_seed
        else:
            incomplete.append(f"{row}, seed {seed}")
    _require_same_posts(data, whole)
    rows = [_row(name, seeds) for name, seeds in whole.items() if seeds]
    _require_whole_baseline(data, baseline, whole)
    comparisons = _comparisons(rows, baseline) if rows else []
    num_posts = len(rows[0].labels) if rows else 0
    return Results(data, num_posts, num_folds, rows, comparisons, incomplete)


def _num_folds(data: str, cells: Sequence[CellResult]) -> int | None:
    """Return one more than the largest number: a fold that lacks everywhere lacks all the same."""
    folds = {cell.fold for cell in cells}
    if None in folds and len(folds) > 1:
        raise MvcnError(f"The results on {data} mix folds and a fixed split: compare them apart.")
    return max((fold + 1 for fold in folds if fold is not None), default=None)


def _by_row_and_seed(
    cells: Sequence[CellResult],
) -> Mapping[tuple[str, int], list[CellResult]]:
    """Return the cells of each training seed of each row, folds in order."""
    groups: dict[tuple[str, int], list[CellResult]] = defaultdict(list)
    for cell in cells:
        groups[cell.row, cell.seed].append(cell)
    return {key: _in_order(of_seed) for key, of_seed in groups.items()}


def _require_one_of_each(data: str, cells: Sequence[CellResult]) -> None:
    counts = Counter((cell.row, cell.seed, cell.fold) for cell in cells)
    (row, seed, fold), count = counts.most_common(1)[0]
    if count > 1:
        of_fold = "" if fold is None else f", fold {fold}"
        raise MvcnError(
            f"On {data} there are {count} results of row '{row}', seed {seed}{of_fold}: name each "
            "folder once, and no two experiments with a row of the same name and seed."
        )


def _require_same_settings(data: str, cells: Sequence[CellResult]) -> None:
    first: dict[str, CellResult] = {}
    for cell in cells:
        if cell.settings != first.setdefault(cell.row, cell).settings:
            raise MvcnError(
                f"On {data}, row '{cell.row}' of experiment '{cell.experiment}' has other settings "
                f"than that of experiment '{first[cell.row].experiment}': rename one of the rows."
            )


def _row(name: str, seeds: Mapping[int, Sequence[CellResult]]) -> Row:
    whole = dict(sorted(seeds.items()))
    first = next(iter(whole.values()))
    seconds = [sum(cell.seconds["training"] for cell in cells) for cells in whole.values()]
    errors = [cell.metrics.get(CALIBRATION) for (cell, *folds) in whole.values() if not folds]
    known = [error for error in errors if error is not None]
    return Row(
        name,
        tuple(whole),
        np.concatenate([cell.labels for cell in first]),
        np.array([np.concatenate([cell.predicted for cell in cells]) for cells in whole.values()]),
        ~np.concatenate([cell.has_near_duplicate for cell in first]),
        len(first[0].class_names),
        _spread(seconds),
        _spread(known) if len(known) == len(whole) else None,
    )


def _in_order(cells: Sequence[CellResult]) -> list[CellResult]:
    return sorted(cells, key=lambda cell: -1 if cell.fold is None else cell.fold)


def _require_same_posts(data: str, whole: Mapping[str, Mapping[int, Sequence[CellResult]]]) -> None:
    judged = {
        (row, seed): [(cell.posts_digest, cell.class_names) for cell in cells]
        for row, seeds in whole.items()
        for seed, cells in seeds.items()
    }
    for (row, seed), posts in judged.items():
        if posts != next(iter(judged.values())):
            raise MvcnError(
                f"On {data}, row '{row}' with seed {seed} judges other posts or classes than the "
                "first row: run all rows on the same splits."
            )


def _require_whole_baseline(
    data: str, baseline: str | None, whole: Mapping[str, Mapping[int, object]]
) -> None:
    if baseline is None or whole.get(baseline):
        return
    if baseline in whole:
        raise MvcnError(
            f"On {data}, folds lack in every seed of row '{baseline}': finish the experiment, or "
            "choose another baseline."
        )
    raise MvcnError(f"On {data} there is no row '{baseline}': the rows are {', '.join(whole)}.")


def _comparisons(rows: Sequence[Row], baseline: str | None) -> list[Comparison]:
    first = next(row for row in rows if baseline in (None, row.name))
    others = [row for row in rows if row is not first]
    found = [_difference(first, row, HEADLINE) for row in others]
    corrected = holm([difference.p_value for difference in found])
    return [
        _comparison(first, row, difference, p)
        for row, difference, p in zip(others, found, corrected, strict=True)
    ]


def _comparison(first: Row, row: Row, difference: Difference, corrected_p: float) -> Comparison:
    return Comparison(
        row.name,
        first.name,
        difference,
        _difference(first, row, "accuracy"),
        corrected_p,
        _seeds_p(first, row),
        _posts_p(first, row),
        shared_seeds=len(set(first.seeds) & set(row.seeds)),
        fewest_seeds=min(len(first.seeds), len(row.seeds)),
    )


def _difference(first: Row, second: Row, metric: str) -> Difference:
    return paired_bootstrap(
        first.labels, first.predicted, second.predicted, first.num_classes, METRICS[metric]
    )


def _seeds_p(first: Row, second: Row) -> float | None:
    shared = sorted(set(first.seeds) & set(second.seeds))
    if not shared:
        scores = [row.scores(HEADLINE).tolist() for row in (first, second)]
        return two_sample_test(*scores)
    if len(shared) > MAX_EXACT_SEEDS:
        return None
    one, other = (
        row.scores(HEADLINE)[[row.seeds.index(seed) for seed in shared]] for row in (first, second)
    )
    return sign_flip_test((other - one).tolist())


def _posts_p(first: Row, second: Row) -> float:
    return mcnemar_test(first.labels, first.vote(), second.vote())


def _spread(values: Sequence[float]) -> Spread:
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return Spread(statistics.mean(values), deviation)
