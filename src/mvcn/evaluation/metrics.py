"""Metrics of predicted probabilities against labels, with bootstrap intervals over posts."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float, Int, Num
from sklearn.metrics import (
    confusion_matrix,
    log_loss,
    precision_recall_fscore_support,
)

from mvcn.errors import MvcnError, count_of, format_table

CALIBRATION_BINS = 15
BOOTSTRAP_RESAMPLES = 1000
BOOTSTRAP_SEED = 0
METRIC_TITLES = {
    "accuracy": "accuracy",
    "f1_weighted": "weighted F1",
    "f1_macro": "macro F1",
    "f1_binary": "F1 of the second class",
    "expected_calibration_error": "calibration error",
    "negative_log_likelihood": "negative log-likelihood",
}
"""Field of `Evaluation` -> its name for users."""
INTERVAL_PERCENT = 95
SUM_TOLERANCE = 1e-2
"""Largest deviation of a sum from 1; probabilities in half precision stay below it."""
BINARY = 2


Confusion: TypeAlias = Num[np.ndarray, "*rows classes classes"]
Metric: TypeAlias = Callable[[Confusion], Float[np.ndarray, "*rows"]]


def accuracy(confusion: Confusion) -> Float[np.ndarray, "*rows"]:
    """Return the share of correct predictions of each confusion matrix (rows are true classes)."""
    correct: np.ndarray = confusion.diagonal(axis1=-2, axis2=-1).sum(-1)
    return np.asarray(correct / confusion.sum((-2, -1)))


def f1_weighted(confusion: Confusion) -> Float[np.ndarray, "*rows"]:
    """Return the mean F1 of the classes, weighted by their posts."""
    support = confusion.sum(-1)
    return np.asarray((_f1(confusion) * support).sum(-1) / support.sum(-1))


def f1_macro(confusion: Confusion) -> Float[np.ndarray, "*rows"]:
    """Return the plain mean F1 of all classes; a class that never occurs counts as 0."""
    return np.asarray(_f1(confusion).mean(-1))


def f1_binary(confusion: Confusion) -> Float[np.ndarray, "*rows"]:
    """Return the F1 of the second class, the positive one of two."""
    return _f1(confusion)[..., 1]


def mean_recall(confusion: Confusion) -> Float[np.ndarray, "*rows"]:
    """Return the plain mean recall of the classes that occur: 1 / K if predictions are chance."""
    support = confusion.sum(-1)
    recall = confusion.diagonal(axis1=-2, axis2=-1) / np.maximum(support, 1)
    return np.asarray(recall.sum(-1) / (support > 0).sum(-1))


METRICS: dict[str, Metric] = {
    "accuracy": accuracy,
    "f1_weighted": f1_weighted,
    "f1_macro": f1_macro,
    "f1_binary": f1_binary,
}


@dataclass(frozen=True, slots=True)
class ClassScores:
    """Scores of one class; 0 where the denominator is 0."""

    precision: float
    recall: float
    f1: float
    support: int
    """Posts of the class."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Metrics of one set of predictions."""

    n: int
    """Posts."""
    accuracy: float
    f1_weighted: float
    """Mean F1 of the classes, weighted by their posts: the convention for MVSA."""
    f1_macro: float
    """Plain mean F1 of all classes; a class without posts and predictions counts as 0."""
    f1_binary: float | None
    """F1 of the positive class, the second of two; None where there are more classes."""
    per_class: Mapping[str, ClassScores]
    confusion_matrix: tuple[tuple[int, ...], ...]
    """Posts by true class (row) and predicted class (column), in the order of `per_class`."""
    expected_calibration_error: float
    """Over 15 bins of equal width of the top probability (Guo et al., ICML 2017)."""
    negative_log_likelihood: float
    """Mean over the posts in nats; a probability of 0 counts as 2.2e-16, to be finite."""
    intervals: Mapping[str, tuple[float, float]]
    """Metric -> ends of its 95 % bootstrap interval over posts (not over seeds of training)."""

    def to_mapping(self) -> dict[str, Any]:
        """Return plain values for JSON; `f1_binary` is left out unless there are two classes."""
        mapping = dataclasses.asdict(self)
        mapping["confusion_matrix"] = [list(row) for row in self.confusion_matrix]
        mapping["intervals"] = {name: list(ends) for name, ends in self.intervals.items()}
        if self.f1_binary is None:
            del mapping["f1_binary"]
        return mapping


def evaluate_predictions(
    probabilities: Float[np.ndarray, "batch classes"],
    labels: Int[np.ndarray, " batch"],
    class_names: Sequence[str],
) -> Evaluation:
    """Evaluate the probabilities of a complete set of posts.

    A post's prediction is its most probable class, the first one on ties. Averages are over all of
    `class_names`, as scikit-learn computes them with ``labels=range(classes)`` and
    ``zero_division=0``: without `labels`, macro F1 would skip classes that do not occur.

    Args:
        probabilities: One row per post, each with the sum 1 (half precision is near enough).
        labels: True classes as positions in `class_names`.
        class_names: Names of the classes; of two, the second is the positive one.

    Raises:
        MvcnError: There are no posts, fewer than two classes, inconsistent shapes, invalid
            probabilities, or labels out of range.
    """
    _require_fitting_shapes(probabilities, labels, class_names)
    _require_probabilities(probabilities)
    _require_classes(labels, class_names)
    probabilities = probabilities.astype(np.float64)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    predicted, classes = probabilities.argmax(axis=1), range(len(class_names))
    confusion = confusion_matrix(labels, predicted, labels=classes)
    per_class = _scores_per_class(labels, predicted, class_names)
    return Evaluation(
        n=len(labels),
        accuracy=float(accuracy(confusion)),
        f1_weighted=float(f1_weighted(confusion)),
        f1_macro=float(f1_macro(confusion)),
        f1_binary=per_class[class_names[1]].f1 if len(classes) == BINARY else None,
        per_class=per_class,
        confusion_matrix=tuple(tuple(row) for row in confusion.tolist()),
        expected_calibration_error=calibration_error(probabilities, labels),
        negative_log_likelihood=float(log_loss(labels, probabilities, labels=classes)),
        intervals=_bootstrap_intervals(confusion),
    )


def evaluate_groups(
    probabilities: Float[np.ndarray, "batch classes"],
    labels: Int[np.ndarray, " batch"],
    groups: Sequence[str],
    class_names: Sequence[str],
) -> dict[str, Evaluation]:
    """Evaluate each group of posts, largest first; empty if there is only one.

    Args:
        probabilities: As for `evaluate_predictions`.
        labels: As for `evaluate_predictions`.
        groups: Name of the group of each post.
        class_names: As for `evaluate_predictions`.

    Raises:
        MvcnError: As for `evaluate_predictions`.
    """
    sizes = Counter(groups)
    if len(sizes) == 1:
        return {}
    names = np.array(groups)
    return {
        group: evaluate_predictions(
            probabilities[names == group], labels[names == group], class_names
        )
        for group, _ in sizes.most_common()
    }


def format_groups(groups: Mapping[str, Evaluation]) -> str:
    """Return a table for a terminal: one row a group, scores in percent."""
    header = ("posts with, %", "posts", "accuracy", "weighted F1", "macro F1")
    rows = [header, *(_group_row(name, e) for name, e in groups.items())]
    return format_table(rows, are_numbers=True)


def format_evaluation(evaluation: Evaluation) -> str:
    """Return tables for a terminal, in percent: metrics with intervals, classes, confusion."""
    names = list(evaluation.per_class)
    matrix = zip(names, evaluation.confusion_matrix, strict=True)
    blocks: list[list[tuple[str, ...]]] = [
        [("", "%", f"{INTERVAL_PERCENT} % interval"), *_metric_rows(evaluation)],
        [("class, %", "precision", "recall", "F1", "posts"), *_class_rows(evaluation)],
        [("true \\ predicted", *names), *((name, *map(str, row)) for name, row in matrix)],
    ]
    tables = (format_table(block, are_numbers=True) for block in blocks)
    return "\n\n".join([count_of(evaluation.n, "post"), *tables])


def _require_fitting_shapes(
    probabilities: np.ndarray, labels: np.ndarray, class_names: Sequence[str]
) -> None:
    if len(set(class_names)) != len(class_names) or len(class_names) < BINARY:
        names = ", ".join(class_names) or "none"
        raise MvcnError(f"Evaluation needs at least two classes with different names, not {names}.")
    if labels.ndim != 1 or probabilities.shape != (len(labels), len(class_names)):
        raise MvcnError(
            f"Evaluation needs one label and {len(class_names)} probabilities per post, but the "
            f"labels have shape {labels.shape} and the probabilities {probabilities.shape}."
        )
    if len(labels) == 0:
        raise MvcnError("There are no posts to evaluate.")


def _require_probabilities(probabilities: Float[np.ndarray, "batch classes"]) -> None:
    if not np.isfinite(probabilities).all() or (probabilities < 0).any():
        row = int(np.argmin((np.isfinite(probabilities) & (probabilities >= 0)).all(axis=1)))
        raise MvcnError(
            f"The probabilities of post number {row} (from 0) are {probabilities[row].tolist()}: "
            "each must be a number from 0 to 1."
        )
    sums = probabilities.sum(axis=1, dtype=np.float64)
    if (abs(sums - 1) > SUM_TOLERANCE).any():
        row = int(abs(sums - 1).argmax())
        raise MvcnError(
            f"The probabilities of post number {row} (from 0) sum to {sums[row]:.4g}, not to 1: "
            "pass probabilities, not logits."
        )


def _require_classes(labels: Int[np.ndarray, " batch"], class_names: Sequence[str]) -> None:
    outside = (labels < 0) | (labels >= len(class_names))
    if outside.any():
        row = int(outside.argmax())
        raise MvcnError(
            f"The label of post number {row} (from 0) is {labels[row]}, but must be a whole "
            f"number from 0 to {len(class_names) - 1}."
        )


def _f1(confusion: np.ndarray) -> np.ndarray:
    correct = confusion.diagonal(axis1=-2, axis2=-1)
    return np.asarray(2 * correct / np.maximum(confusion.sum(-1) + confusion.sum(-2), 1))


def _scores_per_class(
    labels: Int[np.ndarray, " batch"],
    predicted: Int[np.ndarray, " batch"],
    class_names: Sequence[str],
) -> dict[str, ClassScores]:
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=range(len(class_names)), zero_division=0
    )
    return {
        name: ClassScores(float(precision[k]), float(recall[k]), float(f1[k]), int(support[k]))
        for k, name in enumerate(class_names)
    }


def calibration_error(
    probabilities: Float[np.ndarray, "batch classes"], labels: Int[np.ndarray, " batch"]
) -> float:
    r"""Return the expected calibration error: bins' mean gap between confidence and accuracy.

    .. math::
        \mathrm{ECE} = \sum_m \frac{|B_m|}{n}
            \left| \mathrm{acc}(B_m) - \mathrm{conf}(B_m) \right|

    B_m holds the posts whose top probability is in (m/15, (m+1)/15], m = 0..14; acc is the
    share of them predicted rightly, conf their mean top probability.

    Source:
        Guo et al., ICML 2017, "On Calibration of Modern Neural Networks", Eq. (3).
    """
    confidence = probabilities.max(axis=1)
    surplus = (probabilities.argmax(axis=1) == labels) - confidence
    inner_edges = np.arange(1, CALIBRATION_BINS) / CALIBRATION_BINS
    bins = np.searchsorted(inner_edges, confidence, side="left")
    return float(abs(np.bincount(bins, weights=surplus)).sum() / len(labels))


def _bootstrap_intervals(
    confusion: Int[np.ndarray, "classes classes"],
) -> dict[str, tuple[float, float]]:
    """Return percentile intervals of the metrics that depend on the confusion matrix alone.

    Drawing n posts with replacement and counting their (truth, prediction) pairs is one draw
    from a multinomial with the observed shares, so the matrices are drawn without any posts.
    """
    n, generator = confusion.sum(), np.random.default_rng(BOOTSTRAP_SEED)
    drawn = generator.multinomial(n, confusion.ravel() / n, size=BOOTSTRAP_RESAMPLES)
    matrices, tail = drawn.reshape(-1, *confusion.shape), (100 - INTERVAL_PERCENT) / 2
    intervals = {}
    for name, metric in METRICS.items():
        if name != "f1_binary" or len(confusion) == BINARY:
            low, high = np.percentile(metric(matrices), [tail, 100 - tail])
            intervals[name] = float(low), float(high)
    return intervals


def _group_row(name: str, evaluation: Evaluation) -> tuple[str, ...]:
    scores = (evaluation.accuracy, evaluation.f1_weighted, evaluation.f1_macro)
    return name, f"{evaluation.n:,}", *map(_percent, scores)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def metric_titles(evaluation: Evaluation) -> dict[str, str]:
    """Return the metrics that an evaluation has -> their names for users."""
    titles = METRIC_TITLES | {"f1_binary": f"F1 of '{list(evaluation.per_class)[-1]}'"}
    return {name: one for name, one in titles.items() if getattr(evaluation, name) is not None}


def _metric_rows(evaluation: Evaluation) -> Iterable[tuple[str, str, str]]:
    for metric, title in metric_titles(evaluation).items():
        interval = " to ".join(map(_percent, evaluation.intervals.get(metric, ())))
        value, in_nats = getattr(evaluation, metric), metric == "negative_log_likelihood"
        yield (
            (f"{title}, nats", f"{value:.3f}", "")
            if in_nats
            else (title, _percent(value), interval)
        )


def _class_rows(evaluation: Evaluation) -> Iterable[tuple[str, ...]]:
    for name, scores in evaluation.per_class.items():
        shares = (scores.precision, scores.recall, scores.f1)
        yield name, *map(_percent, shares), f"{scores.support:,}"
