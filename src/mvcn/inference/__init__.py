"""Predict with a trained model."""

from mvcn.inference.classifier import Classifier, Prediction

__all__ = ["Classifier", "Prediction"]
