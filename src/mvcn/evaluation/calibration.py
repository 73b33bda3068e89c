"""Calibration on dev posts: a temperature for all logits."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from mvcn.evaluation.metrics import calibration_error

PRIOR_DEVIATION = 1.0
"""Of the logarithm of the temperature around 0, for few dev posts."""
LARGEST_LOG = 5.0
HALVES = 2


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


def _negative_log_likelihood(
    logits: Float[np.ndarray, "batch classes"],
    labels: Int[np.ndarray, " batch"],
    temperature: float | Float[np.ndarray, "batch 1"],
) -> Float[np.ndarray, " batch"]:
    """Return the negative log likelihood of each post's class, in nats."""
    rows = log_softmax(logits / temperature, axis=1)
    return np.asarray(-rows[np.arange(len(labels)), labels])
