"""Selective prediction: accuracy against the share of posts that get a label."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from mvcn.errors import MvcnError


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
