"""MVCN: classifiers of posts made of text and image."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mvcn.inference import Classifier, ImageTextClassificationPipeline, Prediction
    from mvcn.inputs import MvcnProcessor
    from mvcn.losses import CentroidQueue, SemanticCongruityLoss
    from mvcn.models import MvcnConfig, MvcnForClassification
    from mvcn.sklearn import CongruityClassifier
    from mvcn.training.congruity_trainer import SemanticCongruityTrainer

__all__ = [
    "CentroidQueue",
    "Classifier",
    "CongruityClassifier",
    "ImageTextClassificationPipeline",
    "MvcnConfig",
    "MvcnForClassification",
    "MvcnProcessor",
    "Prediction",
    "SemanticCongruityLoss",
    "SemanticCongruityTrainer",
]

HOMES = {
    "CentroidQueue": "mvcn.losses",
    "Classifier": "mvcn.inference",
    "CongruityClassifier": "mvcn.sklearn",
    "ImageTextClassificationPipeline": "mvcn.inference",
    "MvcnConfig": "mvcn.models",
    "MvcnForClassification": "mvcn.models",
    "MvcnProcessor": "mvcn.inputs",
    "Prediction": "mvcn.inference",
    "SemanticCongruityLoss": "mvcn.losses",
    "SemanticCongruityTrainer": "mvcn.training.congruity_trainer",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first access, as torch takes seconds to load."""
    from importlib import import_module

    if name not in HOMES:
        raise AttributeError(f"module 'mvcn' has no attribute '{name}'")
    return getattr(import_module(HOMES[name]), name)
