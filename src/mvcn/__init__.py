"""MVCN: classifiers of posts made of text and image."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mvcn.inference import Classifier, Prediction
    from mvcn.models import MvcnConfig, MvcnForClassification, MvcnProcessor

__all__ = ["Classifier", "MvcnConfig", "MvcnForClassification", "MvcnProcessor", "Prediction"]

HOMES = {
    "Classifier": "mvcn.inference",
    "MvcnConfig": "mvcn.models",
    "MvcnForClassification": "mvcn.models",
    "MvcnProcessor": "mvcn.models",
    "Prediction": "mvcn.inference",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: torch takes seconds to load."""
    from importlib import import_module

    if name not in HOMES:
        raise AttributeError(f"module 'mvcn' has no attribute '{name}'")
    return getattr(import_module(HOMES[name]), name)
