"""MVCN: classifiers of posts made of text and image."""

from typing import TYPE_CHECKING, Any

from mvcn.auto_classes import register_when_imported

if TYPE_CHECKING:
    from mvcn.inference.classifier import Classifier, Prediction
    from mvcn.inference.pipeline import ImageTextClassificationPipeline
    from mvcn.inputs.processor import MvcnProcessor
    from mvcn.losses import CentroidQueue, SemanticCongruityLoss
    from mvcn.models.classification import MvcnForClassification
    from mvcn.models.configuration import MvcnConfig
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
    "Classifier": "mvcn.inference.classifier",
    "CongruityClassifier": "mvcn.sklearn",
    "ImageTextClassificationPipeline": "mvcn.inference.pipeline",
    "MvcnConfig": "mvcn.models.configuration",
    "MvcnForClassification": "mvcn.models.classification",
    "MvcnProcessor": "mvcn.inputs.processor",
    "Prediction": "mvcn.inference.classifier",
    "SemanticCongruityLoss": "mvcn.losses",
    "SemanticCongruityTrainer": "mvcn.training.congruity_trainer",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first access, as torch takes seconds to load."""
    from importlib import import_module

    if name not in HOMES:
        raise AttributeError(f"module 'mvcn' has no attribute '{name}'")
    try:
        return getattr(import_module(HOMES[name]), name)
    except ModuleNotFoundError as error:
        from mvcn.errors import missing_extra

        raise missing_extra(error, f"mvcn.{name}") from error


register_when_imported()
