"""Predict with a trained model."""

from mvcn.inference.classifier import Classifier, Prediction
from mvcn.inference.export import Export, export_run
from mvcn.inference.onnx_model import Backend
from mvcn.inference.threshold import read_threshold

__all__ = ["Backend", "Classifier", "Export", "Prediction", "export_run", "read_threshold"]
