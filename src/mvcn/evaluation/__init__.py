"""How good predictions are: metrics with intervals, and their table for a terminal."""

from mvcn.evaluation.calibration import Calibration, Threshold, calibrate, choose_threshold
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
    "ClassScores",
    "Evaluation",
    "Threshold",
    "calibrate",
    "choose_threshold",
    "evaluate_groups",
    "evaluate_predictions",
    "format_evaluation",
    "format_groups",
    "format_table",
]
