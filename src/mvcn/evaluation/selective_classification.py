"""Selective classification: labels for the most certain posts alone.

The accuracy against the share of posts that get a label, and a threshold for a precision.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from mvcn.errors import MvcnError

RISK = 0.1
"""Probability that the precision is not reached on other posts."""
NUM_THRESHOLDS = 20


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """Accuracy on the most certain posts, as more and more of them get a label."""

    coverage: Float[np.ndarray, " batch"]
    """Share of the posts that get a label: 1/n, 2/n, ... 1."""
    accuracy: Float[np.ndarray, " batch"]
    """Of the labels given at this coverage."""

    @property
    def area(self) -> float:
        """Area under the risk-coverage curve: mean error over all coverages, 0 to 1."""
        return float(1 - self.accuracy.mean())


def risk_coverage(
    certainty: Float[np.ndarray, " batch"], is_right: Bool[np.ndarray, " batch"]
) -> RiskCoverage:
    r"""Return accuracy against coverage where the least certain posts get no label.

    .. math::
        \mathrm{AURC} = \frac{1}{n} \sum_{k=1}^{n} \frac{1}{k} \sum_{i=1}^{k} [\hat y_i \ne y_i]

    for posts in the order of falling certainty. Posts of the same certainty count as in random
    order, on average.

    Args:
        certainty: Any score that is higher for more certain posts.
        is_right: Whether the label of the post is correct.

    Raises:
        MvcnError: There are no posts.

    Source:
        Geifman et al., ICLR 2019, "Bias-Reduced Uncertainty Estimation for Deep Neural
        Classifiers". Deviation: ties, whose order they leave open.
    """
    if not len(certainty):
        raise MvcnError("There are no posts to evaluate.")
    _, group = np.unique(-certainty, return_inverse=True)
    right = np.bincount(group, weights=is_right) / np.bincount(group)
    counts = np.arange(1, len(group) + 1)
    return RiskCoverage(counts / len(group), right[np.sort(group)].cumsum() / counts)


@dataclass(frozen=True, slots=True)
class Threshold:
    """The smallest top probability with which a class is predicted."""

    confidence: float
    coverage: float
    """Share of the posts with a predicted class, among those that it was chosen on."""
    precision: float
    """Share of correct predictions among those."""


def choose_threshold(
    confidence: Float[np.ndarray, " batch"],
    is_right: Bool[np.ndarray, " batch"],
    target_precision: float,
) -> Threshold:
    """Return the lowest threshold that, at 90 % confidence, reaches the target precision.

    Twenty thresholds are tried, which predict a class for 5, 10, ... 100 % of the posts. One is
    accepted if the exact lower bound (Clopper-Pearson) of its precision is at least the target:
    if, at the target precision, so many hits or more have at most a twentieth of the risk, so that
    the confidence holds for the chosen one.

    Source:
        Geifman and El-Yaniv, NeurIPS 2017, "Selective Classification for Deep Neural Networks",
        Section 3. Deviation: a fixed list of thresholds in place of a binary search.

    Args:
        confidence: Top probability of each post that the model was not trained on.
        is_right: Whether the predicted class is correct.
        target_precision: Above 0 and below 1.

    Raises:
        MvcnError: No threshold reaches the target on these posts.
    """
    falling = np.sort(confidence)[::-1]
    shares = np.arange(1, NUM_THRESHOLDS + 1) / NUM_THRESHOLDS
    thresholds = falling[np.ceil(shares * len(falling)).astype(int) - 1]
    given = confidence >= thresholds[:, None]
    counts, hits = given.sum(axis=1), (given & is_right).sum(axis=1)
    accepted = _accepted(counts, hits, target_precision)
    if not accepted:
        most = next((p for p in range(99, 0, -1) if _accepted(counts, hits, p / 100)), 0)
        less = f"use --precision {most / 100:g} or less, or " if most else ""
        raise MvcnError(
            f"On {len(confidence)} held-out posts, no threshold reaches a precision of "
            f"{target_precision:g} with {100 * (1 - RISK):.0f} % confidence: {less}label more "
            "posts."
        )
    best = accepted[-1]
    coverage, precision = counts[best] / len(confidence), hits[best] / counts[best]
    return Threshold(float(thresholds[best]), float(coverage), float(precision))


def _accepted(
    counts: Int[np.ndarray, " thresholds"], hits: Int[np.ndarray, " thresholds"], precision: float
) -> list[int]:
    """Return at which thresholds a precision is reached, but for a share of the risk."""
    tails = [at_least(int(h), int(n), precision) for n, h in zip(counts, hits, strict=True)]
    return [i for i, tail in enumerate(tails) if tail <= RISK / NUM_THRESHOLDS]


def at_least(hits: int, trials: int, chance: float) -> float:
    """Return the probability of so many hits or more: the upper tail of a binomial distribution.

    Args:
        hits: From 0 to `trials`.
        trials: Their number.
        chance: Of a hit in one trial, above 0 and below 1.
    """
    numbers = np.arange(hits, trials + 1)
    logs = np.concatenate(([0.0], np.log(np.arange(1, trials + 1)).cumsum()))  # of factorials
    ways = logs[trials] - logs[numbers] - logs[trials - numbers]
    chances = numbers * math.log(chance) + (trials - numbers) * math.log1p(-chance)
    return min(1.0, float(np.exp(ways + chances).sum()))
