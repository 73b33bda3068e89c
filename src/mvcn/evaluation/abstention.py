"""How sure a prediction must be, so that the wished share of those that are given is right."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import beta

from mvcn.errors import MvcnError

RISK = 0.1
"""Chance that the posts at hand flatter the model so much that the promise does not hold."""
NUM_THRESHOLDS = 20
TINY = 1e-9
"""In place of no hit, for which the bound is 0."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """The least top probability with which a class is given."""

    confidence: float
    coverage: float
    """Share of the posts that it was chosen on that are given a class."""
    precision: float
    """Share of those that are right."""


def choose_threshold(
    confidence: Float[np.ndarray, " batch"], is_right: Bool[np.ndarray, " batch"], wished: float
) -> Threshold:
    """Return the lowest threshold with which, at 90 % confidence, the wished share is right.

    Twenty thresholds are tried, which give a class to 5, 10, ... 100 % of the posts. One is
    accepted where the exact lower bound (Clopper-Pearson) of its precision is at least as wished;
    each has a twentieth of the risk, so that the choice among them does not spoil the promise.

    Source:
        Geifman and El-Yaniv, NeurIPS 2017, "Selective Classification for Deep Neural Networks",
        Section 3. Deviation: a fixed list of thresholds in place of a binary search.

    Args:
        confidence: Top probability of each post; posts that the model was not trained on.
        is_right: Whether the predicted class is the post's.
        wished: Precision, above 0 and below 1.

    Raises:
        MvcnError: No threshold keeps the promise on these posts.
    """
    falling = np.sort(confidence)[::-1]
    shares = np.arange(1, NUM_THRESHOLDS + 1) / NUM_THRESHOLDS
    thresholds = falling[np.ceil(shares * len(falling)).astype(int) - 1]
    given = confidence >= thresholds[:, None]
    counts, hits = given.sum(axis=1), (given & is_right).sum(axis=1)
    bounds = beta.ppf(RISK / NUM_THRESHOLDS, np.maximum(hits, TINY), counts - hits + 1)
    accepted = np.flatnonzero(bounds >= wished)
    if len(accepted) == 0:
        raise MvcnError(
            f"A precision of {wished:g} cannot be promised from {len(confidence)} dev posts: wish "
            "for less, or train with more dev posts."
        )
    best = accepted[-1]
    coverage, precision = counts[best] / len(confidence), hits[best] / counts[best]
    return Threshold(float(thresholds[best]), float(coverage), float(precision))
