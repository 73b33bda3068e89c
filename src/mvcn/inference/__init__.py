"""Predict with a trained model."""

from mvcn.inference.classifier import Classifier, Prediction
from mvcn.inference.threshold import read_threshold

__all__ = ["Classifier", "Prediction", "read_threshold"]
