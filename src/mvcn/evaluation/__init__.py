"""Evaluation of predictions: metrics with intervals, calibration, and their tables."""
