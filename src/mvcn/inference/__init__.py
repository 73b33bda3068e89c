"""Predict with a trained model.

Importing this package makes `transformers.pipeline` know the task ``image-text-classification``.
"""

from mvcn.inference.classifier import Classifier, Prediction
from mvcn.inference.export import Export, export_run
from mvcn.inference.onnx_model import Backend
from mvcn.inference.pipeline import ImageTextClassificationPipeline
from mvcn.inference.threshold import read_threshold

__all__ = [
    "Backend",
    "Classifier",
    "Export",
    "ImageTextClassificationPipeline",
    "Prediction",
    "export_run",
    "read_threshold",
]
