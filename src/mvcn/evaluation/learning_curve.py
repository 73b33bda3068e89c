"""A learning curve over folds, and the accuracy that it predicts for more posts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.stats import t

from mvcn.evaluation.metrics import INTERVAL_PERCENT

FACTORS = (2, 4)
"""Multiples of the posts for which the accuracy is predicted."""


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """Accuracy by number of training posts, for each fold of the posts as the held-out ones."""

    posts: Sequence[int]
    """Training posts, rising: two or more different numbers."""
    accuracy: Float[np.ndarray, "folds sizes"]
    """From 0 to 1; two or more folds."""

    def expected(self, factor: int) -> tuple[float, float]:
        r"""Return the ends of the 95 % interval of the accuracy with `factor` times the posts.

        For each fold k, a curve is fitted by least squares,

        .. math::
            \mathrm{accuracy}_k(n) = a_k - b_k \, n^{-1/2}

        and its gain from n to factor * n is added to the mean accuracy. The interval is that of
        Student's t of the mean gain over folds, within 0 and 1; how well the accuracy itself is
        known is not part of it.

        Source:
            Cortes et al., NeurIPS 1993, "Learning Curves: Asymptotic Values and Rate of
            Convergence". Deviation: the exponent is fixed at 1/2, the usual rate of errors of
            estimation, since three sizes do not determine three parameters.
        """
        rates = np.asarray(self.posts, dtype=float) ** -0.5
        slopes = np.polyfit(rates, self.accuracy.T, 1)[0]
        gains = slopes * (factor**-0.5 - 1) * rates[-1]
        error = gains.std(ddof=1) / len(gains) ** 0.5
        margin = t.ppf(0.5 + INTERVAL_PERCENT / 200, len(gains) - 1) * error
        middle = self.accuracy[:, -1].mean() + gains.mean()
        low, high = np.clip([middle - margin, middle + margin], 0, 1)
        return float(low), float(high)

    def to_mapping(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "posts": list(self.posts),
            "accuracy": self.accuracy.mean(axis=0).tolist(),
            "expected": {str(factor): list(self.expected(factor)) for factor in FACTORS},
        }

    def sentence(self, about: str) -> str:
        """Return what the curve predicts for more posts.

        Args:
            about: The model whose curve it is, such as ``a linear model on text``.
        """
        twice, four = (_percents(self.expected(factor)) for factor in FACTORS)
        now = 100 * self.accuracy[:, -1].mean()
        return (
            f"What more posts give, by the learning curve of {about}: {now:.1f} % accuracy now, "
            f"about {twice} with twice the posts, {four} with four times."
        )


def _percents(ends: tuple[float, float]) -> str:
    return " to ".join(f"{100 * end:.1f}" for end in ends)
