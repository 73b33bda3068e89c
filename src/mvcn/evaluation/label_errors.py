"""Labels that a model which has not learned from them finds improbable."""

import numpy as np
from jaxtyping import Float, Int

NO_CLASS = -1


def likely_label_errors(
    probabilities: Float[np.ndarray, "batch classes"], labels: Int[np.ndarray, " batch"]
) -> list[int]:
    """Return the positions of posts whose label is probably wrong, the least probable label first.

    A label is in doubt if `confident_classes` counts its post to another class.

    Args:
        probabilities: Of posts that the model was not trained on.
        labels: What they are labelled as.
    """
    confident = confident_classes(probabilities, labels)
    positions = np.flatnonzero((confident != NO_CLASS) & (confident != labels))
    own = probabilities[positions, labels[positions]]
    found: list[int] = positions[own.argsort(kind="stable")].tolist()
    return found


def confident_classes(
    probabilities: Float[np.ndarray, "batch classes"], labels: Int[np.ndarray, " batch"]
) -> Int[np.ndarray, " batch"]:
    r"""Return the class that each post is counted to, -1 for none.

    It is the class of the largest probability among those that reach the mean probability
    :math:`t_j` which posts labelled j have of being j.

    Args:
        probabilities: Of posts that the model was not trained on.
        labels: What they are labelled as.

    Source:
        Northcutt et al., Journal of Artificial Intelligence Research 2021, confident joint.
    """
    classes = range(probabilities.shape[1])
    thresholds = np.array(
        [probabilities[labels == k, k].mean() if (labels == k).any() else np.inf for k in classes]
    )
    reached = np.where(probabilities >= thresholds, probabilities, -1)
    return np.where(reached.max(1) >= 0, reached.argmax(1), NO_CLASS)
