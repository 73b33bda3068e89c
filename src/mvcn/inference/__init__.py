"""Predict with a trained model.

Importing this package makes `transformers.pipeline` know the task ``image-text-classification``.
"""

from mvcn.inference.bulk import EngineName, JobSummary, Scoring, predict_in_bulk
from mvcn.inference.classifier import Classifier, Prediction
from mvcn.inference.export import Export, export_run
from mvcn.inference.onnx import Backend
from mvcn.inference.pipeline import ImageTextClassificationPipeline

__all__ = [
    "Backend",
    "Classifier",
    "EngineName",
    "Export",
    "ImageTextClassificationPipeline",
    "JobSummary",
    "Prediction",
    "Scoring",
    "export_run",
    "predict_in_bulk",
]
