"""Evaluation of predictions: metrics with intervals, calibration, and their tables."""

from mvcn.evaluation.calibration import Calibration, Threshold, calibrate, choose_threshold
from mvcn.evaluation.class_balance import ClassBalance, balance_classes
from mvcn.evaluation.metrics import (
    ClassScores,
    Evaluation,
    evaluate_groups,
    evaluate_predictions,
    format_evaluation,
    format_groups,
    format_table,
)

__all__ = [
    "Calibration",
    "ClassBalance",
    "ClassScores",
    "Evaluation",
    "Threshold",
    "balance_classes",
    "calibrate",
    "choose_threshold",
    "evaluate_groups",
    "evaluate_predictions",
    "format_evaluation",
    "format_groups",
    "format_table",
]
