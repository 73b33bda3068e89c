"""The classifiers, all with one signature and one kind of output.

Importing this package registers them with Hugging Face's Auto classes.
"""

from transformers import AutoConfig, AutoModelForSequenceClassification

from mvcn.models.build import build_model, join_members, require_tokens
from mvcn.models.classification import MvcnForClassification
from mvcn.models.configuration import MvcnConfig
from mvcn.models.registry import MODELS, system

__all__ = [
    "MODELS",
    "MvcnConfig",
    "MvcnForClassification",
    "build_model",
    "join_members",
    "require_tokens",
    "system",
]

AutoConfig.register(MvcnConfig.model_type, MvcnConfig)
AutoModelForSequenceClassification.register(MvcnConfig, MvcnForClassification)
