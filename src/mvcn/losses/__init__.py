"""The objective and its terms, named as in the paper."""

from mvcn.losses.calibration import soft_targets
from mvcn.losses.congruity import SemanticCongruityLoss, congruity_loss, squared_distances
from mvcn.losses.objective import ClassifierOutput, Objective, Targets
from mvcn.losses.queue import CentroidQueue, batch_centroids

__all__ = [
    "CentroidQueue",
    "ClassifierOutput",
    "Objective",
    "SemanticCongruityLoss",
    "Targets",
    "batch_centroids",
    "congruity_loss",
    "soft_targets",
    "squared_distances",
]
