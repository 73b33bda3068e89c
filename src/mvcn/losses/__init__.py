"""The objective and its terms, named as in the paper."""

from mvcn.losses.calibration import soft_targets
from mvcn.losses.congruity import (
    CentroidQueue,
    CongruityForm,
    batch_centroids,
    congruity_loss,
    squared_distances,
)
from mvcn.losses.objective import CentroidSource, ClassifierOutput, Objective, Targets
from mvcn.losses.semantic_congruity import SemanticCongruityLoss

__all__ = [
    "CentroidQueue",
    "CentroidSource",
    "ClassifierOutput",
    "CongruityForm",
    "Objective",
    "SemanticCongruityLoss",
    "Targets",
    "batch_centroids",
    "congruity_loss",
    "soft_targets",
    "squared_distances",
]
