"""Results of an experiment: scores of variants, and differences between them."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from sklearn.metrics import confusion_matrix

from mvcn.errors import MvcnError, which_of
from mvcn.evaluation.metrics import METRICS
from mvcn.evaluation.significance import (
    MAX_EXACT_SEEDS,
    Difference,
    holm,
    mcnemar_test,
    paired_bootstraps,
    sign_flip_test,
    two_sample_test,
)
from mvcn.experiments.grid import TEST
from mvcn.experiments.results import CellResult, kind_of_posts

HEADLINE = "f1_weighted"
"""The metric of the sentences about differences: the convention for MVSA."""
CALIBRATION = "expected_calibration_error"


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and standard deviation over seeds."""

    mean: float
    deviation: float | None
    """Sample standard deviation; None for a single seed."""

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the spread of values, one per seed."""
        return cls(statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None)


@dataclass(frozen=True, slots=True)
class Variant:
    """The predictions of one variant, with all folds of a seed concatenated."""

    name: str
    seeds: tuple[int, ...]
    labels: Int[np.ndarray, " batch"]
    predicted: Int[np.ndarray, "seeds batch"]
    probabilities: Float[np.ndarray, "seeds batch classes"]
    has_no_near_duplicate: Bool[np.ndarray, "seeds batch"]
    """Whether no training post has nearly the same text; seeds may have drawn other ones."""
    num_classes: int
    seconds: Spread | None
    """Of a processor for one training; with folds, for all of them."""
    calibration_error: Spread | None = None
    """As in the metrics of the runs; None with folds, whose errors have no common bins."""

    def scores(self, metric: str, *, near_duplicates: bool = True) -> Float[np.ndarray, " seeds"]:
        """Return a metric of `METRICS` per seed, with or without posts with near-duplicates."""
        chosen = self.has_no_near_duplicate | near_duplicates
        matrices = list(map(self._confusion, self.predicted, chosen))
        return METRICS[metric](np.array(matrices))

    def spread(self, metric: str, *, near_duplicates: bool = True) -> Spread:
        """Return the mean and deviation of `scores`."""
        return Spread.of(self.scores(metric, near_duplicates=near_duplicates).tolist())

    def ensemble(self) -> Int[np.ndarray, " batch"]:
        """Return the class of the largest mean of the seeds' probabilities."""
        return np.asarray(self.probabilities.mean(0).argmax(-1))

    def ensemble_score(self, metric: str) -> float:
        """Return a metric of `METRICS` of the ensemble of all seeds."""
        everything = np.ones(len(self.labels), dtype=bool)
        return float(METRICS[metric](self._confusion(self.ensemble(), everything)))

    def _confusion(
        self, predicted: Int[np.ndarray, " batch"], chosen: Bool[np.ndarray, " batch"]
    ) -> Float[np.ndarray, "classes classes"]:
        classes = range(self.num_classes)
        matrix = confusion_matrix(self.labels[chosen], predicted[chosen], labels=classes)
        return np.asarray(matrix, dtype=float)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A variant compared with the baseline."""

    variant: str
    baseline: str
    difference: Difference
    """Of the weighted F1, as are the p-values over posts and seeds."""
    accuracy: Difference
    corrected_p: float
    """The p-value of the bootstrap after Holm's correction for all variants that are compared."""
    seeds_p: float | None
    """By sign flips over the seeds of both; by all splits of the seeds into two groups where they
    share none; None where there are too many."""
    posts_p: float
    """McNemar's, of the two ensembles of seeds."""
    shared_seeds: int
    fewest_seeds: int
    """Of the two variants; with a single seed, the interval does not cover other seeds."""


@dataclass(frozen=True, slots=True)
class Results:
    """All variants of an experiment on one dataset."""

    data: str
    num_posts: int
    num_folds: int | None
    split: str
    """Of the posts; with folds, ``test`` means those of published folds."""
    variants: Sequence[Variant]
    comparisons: Sequence[Comparison]
    """One for each variant but the baseline."""
    incomplete: Sequence[str]
    """Variants and seeds with missing folds, which are in no table."""
    posts_digest: str = ""
    """Equal where the results on two datasets are of the same posts in the same order."""
    train_posts: int | None = None
    """Number of training posts; None if it differs between cells or is not known."""


Seeds = Mapping[int, Sequence[CellResult]]
"""Seed -> the results of its folds in order, or its only result."""


def compare(cells: Sequence[CellResult], baseline: str | None = None) -> list[Results]:
    """Return the results on each dataset, variants in the order of their first cells.

    Args:
        cells: As `read_cells` returns them, of one experiment or several.
        baseline: The variant that the others are compared with; the first one by default.

    Raises:
        MvcnError: There are no cells, duplicates of a cell, several settings of a variant, cells
            evaluated on different posts, or no complete variant with the name of the baseline.
    """
    if not cells:
        raise MvcnError("There are no results to compare: use a folder written by mvcn experiment.")
    by_data: dict[str, list[CellResult]] = defaultdict(list)
    for cell in cells:
        by_data[cell.data].append(cell)
    return [_results(data, of_data, baseline) for data, of_data in by_data.items()]


def _results(data: str, cells: Sequence[CellResult], baseline: str | None) -> Results:
    num_folds = _num_folds(data, cells)
    _require_one_of_each(data, cells)
    _require_same_settings(data, cells)
    complete: dict[str, dict[int, Sequence[CellResult]]] = {cell.variant: {} for cell in cells}
    incomplete = []
    for (variant, seed), of_seed in _by_variant_and_seed(cells).items():
        if len(of_seed) == (num_folds or 1):
            complete[variant][seed] = of_seed
        else:
            incomplete.append(f"{variant}, seed {seed}")
    _require_same_posts(data, complete)
    variants = [_variant(name, seeds) for name, seeds in complete.items() if seeds]
    _require_complete_baseline(data, baseline, complete)
    comparisons = _comparisons(variants, baseline) if variants else []
    num_posts = len(variants[0].labels) if variants else 0
    counts = {cell.train_posts for cell in cells}
    return Results(
        data,
        num_posts,
        num_folds,
        cells[0].split,
        variants,
        comparisons,
        incomplete,
        "" if num_folds else cells[0].posts_digest,
        counts.pop() if len(counts) == 1 and not num_folds else None,
    )


def _num_folds(data: str, cells: Sequence[CellResult]) -> int | None:
    """Return the number of folds up to the largest, so that one missing everywhere is noticed."""
    kinds = sorted({kind_of_posts(cell) for cell in cells}, reverse=True)
    if len(kinds) > 1:
        raise MvcnError(
            f"The results on {data} mix {' and '.join(kinds)}: compare them one by one."
        )
    last = max((cell.fold for cell in cells if cell.fold is not None), default=None)
    return last if last is None or cells[0].split == TEST else last + 1


def _by_variant_and_seed(
    cells: Sequence[CellResult],
) -> Mapping[tuple[str, int], Sequence[CellResult]]:
    """Return the cells of each variant and seed, folds in order."""
    groups: dict[tuple[str, int], list[CellResult]] = defaultdict(list)
    for cell in cells:
        groups[cell.variant, cell.seed].append(cell)
    return {key: sorted(group, key=lambda cell: cell.fold or 0) for key, group in groups.items()}


def _require_one_of_each(data: str, cells: Sequence[CellResult]) -> None:
    counts = Counter((cell.variant, cell.seed, cell.fold) for cell in cells)
    (variant, seed, fold), count = counts.most_common(1)[0]
    if count > 1:
        of_fold = "" if fold is None else f", fold {fold}"
        raise MvcnError(
            f"On {data} there are {count} results of variant '{variant}', seed {seed}{of_fold}: "
            "pass each folder once, and only one experiment with that variant and seed."
        )


def _require_same_settings(data: str, cells: Sequence[CellResult]) -> None:
    first: dict[str, CellResult] = {}
    for cell in cells:
        if cell.settings != first.setdefault(cell.variant, cell).settings:
            raise MvcnError(
                f"On {data}, variant '{cell.variant}' of experiment '{cell.experiment}' has other "
                f"settings than in experiment '{first[cell.variant].experiment}': rename one of "
                "them."
            )


def _variant(name: str, seeds: Seeds) -> Variant:
    by_seed = dict(sorted(seeds.items()))
    first = next(iter(by_seed.values()))
    errors = [cell.metrics.get(CALIBRATION) for (cell, *folds) in by_seed.values() if not folds]
    known = [error for error in errors if error is not None]
    return Variant(
        name,
        tuple(by_seed),
        np.concatenate([cell.labels for cell in first]),
        _of_posts(by_seed, "predicted"),
        _of_posts(by_seed, "probabilities"),
        ~_of_posts(by_seed, "has_near_duplicate"),
        len(first[0].class_names),
        _seconds(by_seed),
        Spread.of(known) if len(known) == len(by_seed) else None,
    )


def _seconds(seeds: Seeds) -> Spread | None:
    """Return the duration of all trainings of a seed, by those that were not interrupted."""
    known = [
        len(cells) * statistics.mean(measured)
        for cells in seeds.values()
        if (measured := [one for cell in cells if (one := cell.training_seconds) is not None])
    ]
    return Spread.of(known) if known else None


def _of_posts(seeds: Seeds, field: str) -> Shaped[np.ndarray, "seeds batch ..."]:
    """Return a field that has a value for each post, with all folds of a seed concatenated."""
    return np.array(
        [np.concatenate([getattr(cell, field) for cell in cells]) for cells in seeds.values()]
    )


def _require_same_posts(data: str, complete: Mapping[str, Seeds]) -> None:
    evaluated = {
        (variant, seed): [(cell.posts_digest, cell.class_names) for cell in cells]
        for variant, seeds in complete.items()
        for seed, cells in seeds.items()
    }
    for (variant, seed), posts in evaluated.items():
        if posts != next(iter(evaluated.values())):
            raise MvcnError(
                f"On {data}, variant '{variant}' with seed {seed} is evaluated on other posts or "
                "classes than the first variant: run all on the same splits, as mvcn split writes "
                "them (--splits)."
            )


def _require_complete_baseline(
    data: str, baseline: str | None, complete: Mapping[str, Seeds]
) -> None:
    if baseline is None or complete.get(baseline):
        return
    if baseline in complete:
        raise MvcnError(
            f"On {data}, folds are missing in every seed of variant '{baseline}': finish the "
            "experiment, or choose another with --baseline."
        )
    raise MvcnError(
        f"On {data} there is no variant '{baseline}' for --baseline: {which_of(baseline, complete)}"
    )


def _comparisons(variants: Sequence[Variant], baseline: str | None) -> list[Comparison]:
    first = next(variant for variant in variants if baseline in (None, variant.name))
    others = [variant for variant in variants if variant is not first]
    differences = [_differences(first, variant) for variant in others]
    corrected = holm([headline.p_value for headline, _ in differences])
    return [
        Comparison(
            variant.name,
            first.name,
            headline,
            accuracy,
            corrected_p,
            _seeds_p(first, variant),
            mcnemar_test(first.labels, first.ensemble(), variant.ensemble()),
            shared_seeds=len(set(first.seeds) & set(variant.seeds)),
            fewest_seeds=min(len(first.seeds), len(variant.seeds)),
        )
        for variant, (headline, accuracy), corrected_p in zip(
            others, differences, corrected, strict=True
        )
    ]


def _differences(first: Variant, second: Variant) -> list[Difference]:
    metrics = [METRICS[name] for name in (HEADLINE, "accuracy")]
    return paired_bootstraps(
        first.labels, first.predicted, second.predicted, first.num_classes, metrics
    )


def _seeds_p(first: Variant, second: Variant) -> float | None:
    shared = sorted(set(first.seeds) & set(second.seeds))
    if not shared:
        scores = [variant.scores(HEADLINE).tolist() for variant in (first, second)]
        return two_sample_test(*scores)
    if len(shared) > MAX_EXACT_SEEDS:
        return None
    one, other = (
        variant.scores(HEADLINE)[[variant.seeds.index(seed) for seed in shared]]
        for variant in (first, second)
    )
    return sign_flip_test((other - one).tolist())
