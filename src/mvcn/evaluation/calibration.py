"""Calibration on dev posts: a temperature for all logits, and a threshold for a precision."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from scipy.stats import beta

from mvcn.errors import MvcnError
from mvcn.evaluation.metrics import calibration_error

PRIOR_DEVIATION = 1.0
"""Of the logarithm of the temperature around 0, for few dev posts."""
LARGEST_LOG = 5.0
HALVES = 2
RISK = 0.1
"""Probability that the precision is not reached on other posts."""
NUM_THRESHOLDS = 20
TINY = 1e-9
"""Replaces 0 hits, for which the bound is 0."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """A temperature, and its improvement on posts that it was not fitted on."""

    temperature: float
    error_before: float
    """Expected calibration error of the logits without a temperature."""
    error_after: float
    """The same with a temperature from the other half of the posts, for each half."""
    likelihood_before: float
    """Mean negative log likelihood, in nats, of the logits without a temperature."""
    likelihood_after: float
    """The same with a temperature from the other half of the posts, for each half."""


def fit_temperature(
    logits: Float[np.ndarray, "batch classes"], labels: Int[np.ndarray, " batch"]
) -> float:
    r"""Return the temperature T with the highest likelihood of ``softmax(logits / T)``.

    .. math::
        \min_T \; -\sum_i \log \mathrm{softmax}(l_i / T)_{y_i} + \tfrac{1}{2} \log(T)^2

    Above 1 the model is overconfident. The predicted classes do not change.

    Source:
        Guo et al., ICML 2017, "On Calibration of Modern Neural Networks", Section 4.2. The last
        term, a log-normal prior around 1, is ours: it keeps T finite where all posts are right or
        there are few of them, and is negligible for hundreds.

    Args:
        logits: Of posts that the model was not trained on.
        labels: Their classes.
    """

    def cost(log_temperature: float) -> float:
        prior = 0.5 * (log_temperature / PRIOR_DEVIATION) ** 2
        likelihoods = _negative_log_likelihood(logits, labels, math.exp(log_temperature))
        return float(likelihoods.sum()) + prior

    found = minimize_scalar(cost, bounds=(-LARGEST_LOG, LARGEST_LOG), method="bounded")
    return math.exp(found.x)


def calibrate(
    logits: Float[np.ndarray, "batch classes"], labels: Int[np.ndarray, " batch"]
) -> Calibration:
    """Fit a temperature on all posts, and evaluate it by two-fold cross-fitting.

    Args:
        logits: Of posts that the model was not trained on.
        labels: Their classes.
    """
    half = np.arange(len(labels)) % HALVES
    after = np.empty(len(labels))
    for fold in range(HALVES):
        after[half == fold] = fit_temperature(logits[half != fold], labels[half != fold])
    return Calibration(
        temperature=fit_temperature(logits, labels),
        error_before=calibration_error(softmax(logits, axis=1), labels),
        error_after=calibration_error(softmax(logits / after[:, None], axis=1), labels),
        likelihood_before=float(_negative_log_likelihood(logits, labels, 1.0).mean()),
        likelihood_after=float(_negative_log_likelihood(logits, labels, after[:, None]).mean()),
    )


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
    accepted if the exact lower bound (Clopper-Pearson) of its precision is at least the target;
    each takes a twentieth of the risk, so that the confidence holds for the chosen one.

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
    bounds = beta.ppf(RISK / NUM_THRESHOLDS, np.maximum(hits, TINY), counts - hits + 1)
    accepted = np.flatnonzero(bounds >= target_precision)
    if len(accepted) == 0:
        most = np.floor(100 * bounds.max()) / 100
        less = f"ask for at most {most:g}, or " if most > 0 else ""
        raise MvcnError(
            f"On {len(confidence)} held-out posts, no threshold is sure to reach a precision of "
            f"{target_precision:g} (with {1 - RISK:.0%} confidence): {less}label more posts."
        )
    best = accepted[-1]
    coverage, precision = counts[best] / len(confidence), hits[best] / counts[best]
    return Threshold(float(thresholds[best]), float(coverage), float(precision))


def _negative_log_likelihood(
    logits: Float[np.ndarray, "batch classes"],
    labels: Int[np.ndarray, " batch"],
    temperature: float | Float[np.ndarray, "batch 1"],
) -> Float[np.ndarray, " batch"]:
    """Return the negative log likelihood of each post's class, in nats."""
    rows = log_softmax(logits / temperature, axis=1)
    return np.asarray(-rows[np.arange(len(labels)), labels])
