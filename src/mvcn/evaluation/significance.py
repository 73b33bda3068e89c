"""Significance of differences between two systems, over posts and seeds."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import binomtest

from mvcn.errors import MvcnError
from mvcn.evaluation.metrics import BOOTSTRAP_SEED, INTERVAL_PERCENT, Metric

RESAMPLES = 5_000
RESAMPLES_AT_ONCE = 500
MAX_EXACT_SEEDS = 20
"""All 2 ** 20 assignments of signs are tried."""
MAX_EXACT_CHOICES = 2**20
"""Largest number of assignments of seeds to two systems that are tried."""
ROUNDING = 1e-12
"""Of sums, as a share of the sum of sizes; sums that differ by less are equal."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Difference between two systems."""

    mean: float
    """Mean metric over seeds of the second system minus that of the first."""
    interval: tuple[float, float]
    """95 % interval over other posts and other seeds."""
    p_value: float
    """Two-sided, from the share of resamples with the opposite sign."""

    @property
    def is_noise(self) -> bool:
        """Whether the interval contains 0."""
        return self.interval[0] <= 0 <= self.interval[1]


def paired_bootstrap(
    labels: Int[np.ndarray, " batch"],
    first: Int[np.ndarray, "seeds batch"],
    second: Int[np.ndarray, "others batch"],
    num_classes: int,
    metric: Metric,
    resamples: int = RESAMPLES,
) -> Difference:
    """Compare two systems over the same posts, each trained with several seeds.

    Each resample draws posts with replacement, the same ones for both systems, and seeds of each
    system: the interval covers other posts as well as other seeds.

    Args:
        labels: True classes.
        first: Predicted classes of the first system, one row per seed.
        second: Those of the second system, with any number of seeds.
        num_classes: Classes K.
        metric: The metric to compare; see `mvcn.evaluation.metrics.METRICS`.
        resamples: Number of resamples.

    Source:
        Efron & Tibshirani 1993, chapter 13 (percentile interval) and 16 (p-value), with 1 added
        to both counts. Deviation: seeds are resampled, too; ours.
    """
    (found,) = paired_bootstraps(labels, first, second, num_classes, [metric], resamples)
    return found


def paired_bootstraps(
    labels: Int[np.ndarray, " batch"],
    first: Int[np.ndarray, "seeds batch"],
    second: Int[np.ndarray, "others batch"],
    num_classes: int,
    metrics: Sequence[Metric],
    resamples: int = RESAMPLES,
) -> list[Difference]:
    """Return what `paired_bootstrap` does for each metric, from resamples that are drawn once."""
    cells = [labels * num_classes + predicted for predicted in (first, second)]
    once = [_confusions(one, np.ones((1, len(labels))), num_classes) for one in cells]
    drawn = _resampled(cells, num_classes, resamples)
    return [_difference(metric, once, drawn, resamples) for metric in metrics]


def _difference(
    metric: Metric, once: Sequence[np.ndarray], drawn: Sequence[np.ndarray], resamples: int
) -> Difference:
    """Return the difference of two systems from confusion matrices of all posts and of draws."""
    observed = [metric(matrices).mean() for matrices in once]
    differences = metric(drawn[1]).mean(-1) - metric(drawn[0]).mean(-1)
    tail = (100 - INTERVAL_PERCENT) / 2
    low, high = np.percentile(differences, [tail, 100 - tail])
    turned = min((differences <= 0).sum(), (differences >= 0).sum())
    p_value = min(1.0, 2 * (int(turned) + 1) / (resamples + 1))
    return Difference(float(observed[1] - observed[0]), (float(low), float(high)), p_value)


def sign_flip_test(differences: Sequence[float]) -> float:
    """Return the exact two-sided p-value that paired differences are symmetric around 0.

    All 2 ** n signs are tried; with n seeds p is at least 2 / 2 ** n (0.0625 for five), so that
    five seeds cannot reach 0.05.

    Args:
        differences: One per seed, at most 20.

    Raises:
        MvcnError: There are no differences, or too many to try all signs.

    Source:
        Fisher 1935, section 21.  `scipy.stats.permutation_test` gives the same, but takes 10 s
        for 20 seeds instead of milliseconds, and breaks ties by rounding.
    """
    if not 1 <= len(differences) <= MAX_EXACT_SEEDS:
        raise MvcnError(
            f"The test over seeds takes 1 to {MAX_EXACT_SEEDS} seeds, not {len(differences)}."
        )
    sums = np.zeros(1)
    for difference in differences:
        sums = np.concatenate([sums + difference, sums - difference])
    least = abs(sum(differences)) - ROUNDING * sum(map(abs, differences))
    return float((abs(sums) >= least).mean())


def two_sample_test(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return the exact two-sided p-value that two sets of unpaired scores do not differ.

    All assignments of the scores to two sets of the same sizes are tried; p is at least one over
    their number, or two over it for sets of equal size (0.0079 for five and five).

    Args:
        first: Scores of one system, one per seed.
        second: Those of the other system, with other seeds.

    Returns:
        The p-value; None if there are more than 2 ** 20 assignments.

    Raises:
        MvcnError: A set is empty.

    Source:
        Fisher 1935; Efron & Tibshirani 1993, chapter 15.
    """
    if not first or not second:
        raise MvcnError("The test of unpaired seeds needs at least one score of each system.")
    scores, size = [*first, *second], len(first)
    if math.comb(len(scores), size) > MAX_EXACT_CHOICES:
        return None
    sums = np.array([sum(chosen) for chosen in itertools.combinations(scores, size)])
    gaps = abs(sums / size - (sum(scores) - sums) / len(second))
    least = abs(sum(first) / size - sum(second) / len(second)) - ROUNDING * sum(map(abs, scores))
    return float((gaps >= least).mean())


def mcnemar_test(
    labels: Int[np.ndarray, " batch"],
    first: Int[np.ndarray, " batch"],
    second: Int[np.ndarray, " batch"],
) -> float:
    """Return the exact two-sided p-value that two predictions have the same accuracy.

    Only posts that exactly one of them predicts correctly count; without any it is 1.

    Source:
        McNemar, Psychometrika 1947; exact by the binomial distribution.
    """
    is_right = first == labels, second == labels
    gained, lost = int((is_right[1] & ~is_right[0]).sum()), int((is_right[0] & ~is_right[1]).sum())
    return float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for multiple comparisons, in the same order.

    Source:
        Holm, Scandinavian Journal of Statistics 1979.
    """
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(np.argsort(p_values, kind="stable").tolist()):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = largest
    return corrected


def _resampled(
    cells: Sequence[np.ndarray], num_classes: int, resamples: int
) -> list[Float[np.ndarray, "resamples seeds classes classes"]]:
    """Return the confusion matrices of each system: posts drawn for both, seeds for each."""
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    drawn: list[list[np.ndarray]] = [[] for _ in cells]
    for start in range(0, resamples, RESAMPLES_AT_ONCE):
        rows = min(RESAMPLES_AT_ONCE, resamples - start)
        counts = _counts(generator, rows, cells[0].shape[1])
        for of_one, matrices in zip(cells, drawn, strict=True):
            chosen = generator.integers(len(of_one), size=(rows, len(of_one)))
            matrices.append(
                _confusions(of_one, counts, num_classes)[np.arange(rows)[:, None], chosen]
            )
    return [np.concatenate(matrices) for matrices in drawn]


def _counts(
    generator: np.random.Generator, rows: int, posts: int
) -> Float[np.ndarray, "rows posts"]:
    """Return how often each post is drawn, with replacement, in each resample."""
    places = generator.integers(posts, size=(rows, posts)) + posts * np.arange(rows)[:, None]
    counts = np.bincount(places.ravel(), minlength=rows * posts)
    return counts.reshape(rows, posts).astype(float)


def _confusions(
    cells: Int[np.ndarray, "seeds batch"], counts: Float[np.ndarray, "rows batch"], num_classes: int
) -> Float[np.ndarray, "rows seeds classes classes"]:
    """Return a confusion matrix for each row of counts and each seed.

    Args:
        cells: Index in the flattened matrix, by seed and post.
        counts: How often each post counts.
        num_classes: Classes K.
    """
    is_there = cells.T[:, :, None] == np.arange(num_classes**2)
    found = counts @ is_there.reshape(len(is_there), -1).astype(float)  # of all seeds at once
    return np.asarray(found).reshape(len(counts), len(cells), num_classes, num_classes)
