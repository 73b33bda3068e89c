"""How good predictions are: metrics with intervals, and their table for a terminal."""

from mvcn.evaluation.metrics import (
    ClassScores,
    Evaluation,
    evaluate_groups,
    evaluate_predictions,
    format_evaluation,
    format_groups,
)

__all__ = [
    "ClassScores",
    "Evaluation",
    "evaluate_groups",
    "evaluate_predictions",
    "format_evaluation",
    "format_groups",
]
