"""Tables of what was tried for the best recipe, each idea judged by the same five folds."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

PERCENT = 100
METRICS = {"accuracy": "accuracy", "f1_weighted": "weighted F1"}
Table = tuple[Sequence[str], Sequence[Sequence[str]]]


def feature_ideas(content: Mapping[str, Any]) -> Table:
    """Return header and rows: each idea's mean, and its difference to the first, fold by fold."""
    reference = next(iter(content["ideas"].values()))
    header = ["idea", *(f"{words}, %" for words in METRICS.values())]
    rows = [
        [name, *(_beside(scores[metric], reference[metric]) for metric in METRICS)]
        for name, scores in content["ideas"].items()
    ]
    return header, rows


def _beside(scores: Sequence[float], reference: Sequence[float]) -> str:
    """Return the mean, and how far it is from the reference with the standard error over folds."""
    mean = f"{PERCENT * statistics.fmean(scores):.1f}"
    differences = [
        PERCENT * (score - other) for score, other in zip(scores, reference, strict=True)
    ]
    if not any(differences):
        return mean
    error = statistics.stdev(differences) / len(differences) ** 0.5
    return f"{mean} ({statistics.fmean(differences):+.1f} ± {error:.1f})"
