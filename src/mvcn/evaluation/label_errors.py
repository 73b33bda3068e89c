"""Labels that a model which has not learned from them finds improbable."""

import numpy as np
from jaxtyping import Float, Int


def likely_label_errors(
    probabilities: Float[np.ndarray, "batch classes"], labels: Int[np.ndarray, " batch"]
) -> list[int]:
    r"""Return the positions of posts whose label is probably wrong, the surest first.

    A post counts to the class of the largest probability among those that reach the mean
    probability :math:`t_j` which posts labelled j have of being j. Its label is in doubt if that
    class is another one; the lower the probability of the label, the surer.

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
    counted = reached.argmax(1)
    in_doubt = (reached.max(1) >= 0) & (counted != labels)
    own = probabilities[np.arange(len(labels)), labels]
    positions = np.flatnonzero(in_doubt)
    found: list[int] = positions[own[positions].argsort(kind="stable")].tolist()
    return found
