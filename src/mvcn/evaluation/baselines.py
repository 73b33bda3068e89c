"""A model next to baselines on the same posts, and in a sentence what it is worth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from mvcn.errors import count_of, format_table
from mvcn.evaluation.metrics import (
    BINARY,
    INTERVAL_PERCENT,
    Evaluation,
    accuracy,
    evaluate_predictions,
    mean_recall,
)
from mvcn.evaluation.significance import Difference, paired_bootstrap

MAJORITY = "majority"
LINEAR = {
    "text": "linear model on text alone",
    "image": "linear model on image alone",
    "both": "linear model on text and image",
}
"""Linear baseline -> its name for users."""
SCORES = ("accuracy", "f1_weighted", "f1_macro")
TRAINS_LINEAR = " (--model logreg trains one in seconds)"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Scores of a model and of baselines on the same posts."""

    model: Evaluation
    baselines: Mapping[str, Evaluation]
    """By `MAJORITY` and names of `LINEAR`."""
    gains: Mapping[str, Difference]
    """Accuracy of the model minus that of each baseline."""
    recall_gain: Difference | None
    """Mean recall of the model minus that of always predicting the majority class; None if the
    accuracy is measurably higher."""
    majority_class: str

    @property
    def best_linear(self) -> str | None:
        """The linear baseline with the highest accuracy; None if there is none."""
        linear = [name for name in self.baselines if name in LINEAR]
        return max(linear, key=lambda name: self.baselines[name].accuracy, default=None)

    def to_mapping(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "majority_class": self.majority_class,
            "scores": {
                name: {score: getattr(one, score) for score in SCORES}
                | {"intervals": {score: list(one.intervals[score]) for score in SCORES}}
                | {"gain": self.gains[name].mean, "gain_interval": [*self.gains[name].interval]}
                for name, one in self.baselines.items()
            },
        }

    def conclusion(self, *, is_linear: bool = False) -> list[str]:
        """Return what the model is worth, in one sentence, and what else one has to know of it.

        Args:
            is_linear: Whether the model itself is linear, so that no linear one is recommended.
        """
        advice = "" if is_linear else TRAINS_LINEAR
        worth = self._against_majority() + self._against_linear(advice)
        return [worth, *self._rare_classes(), *self._missed_classes()]

    @property
    def _is_useful(self) -> bool:
        return self.gains[MAJORITY].interval[0] > 0

    def _against_majority(self) -> str:
        gain, always = self.gains[MAJORITY], f"always saying '{self.majority_class}'"
        if self._is_useful:
            return f"Better than {always} by {_points(gain, 'accuracy')}"
        worse = ", but worse" if gain.interval[1] < 0 else ""
        points = _points(gain, "accuracy")
        return f"Not measurably better than {always}{worse}, with a gain of {points}{self._instead}"

    @property
    def _instead(self) -> str:
        """Return what to do where the model has no gain in accuracy."""
        if self._tells_classes_apart:
            return "."
        name = self.best_linear
        is_linear_better = name is not None and self.gains[name].interval[1] < 0
        return ": do not use it." if is_linear_better else ": do not use it; label more posts."

    @property
    def _tells_classes_apart(self) -> bool:
        return self.recall_gain is not None and self.recall_gain.interval[0] > 0

    def _against_linear(self, advice: str) -> str:
        name = self.best_linear
        if name is None:
            return "." if self._is_useful else ""
        gain, linear = self.gains[name], f"a {LINEAR[name]}"
        if gain.interval[1] < 0:
            start = ", but worse than" if self._is_useful else " It is worse than"
            return f"{start} {linear} by {_short(gain, -1)}{advice}."
        if not self._is_useful:
            return ""
        if gain.interval[0] > 0:
            return f", and than {linear} by {_short(gain)}."
        return f", but not measurably better than {linear}{advice}."

    def _rare_classes(self) -> list[str]:
        """Return a sentence if a model without gain in accuracy does tell classes apart."""
        if self.recall_gain is None or not self._tells_classes_apart:
            return []
        return [
            f"But it tells the classes apart: their mean recall is higher than by chance, by "
            f"{_points(self.recall_gain)}. Use it to find rare classes, not to label all posts."
        ]

    def _missed_classes(self) -> list[str]:
        missed = [
            f"'{name}' ({count_of(one.support, 'post')})"
            for name, one in self.model.per_class.items()
            if one.support and not one.recall
        ]
        return [f"It finds no post of {', '.join(missed)}."] if missed else []


def compare_with_baselines(
    probabilities: Float[np.ndarray, "batch classes"],
    baselines: Mapping[str, Float[np.ndarray, "batch classes"]],
    labels: Int[np.ndarray, " batch"],
    class_names: Sequence[str],
) -> Comparison:
    """Compare a model with baselines by a paired bootstrap over posts.

    Args:
        probabilities: Of the model, for posts that it was not trained on.
        baselines: Of each baseline for the same posts; those of `MAJORITY` are the same for all.
        labels: True classes.
        class_names: Names of the classes.

    Raises:
        MvcnError: As for `evaluate_predictions`.
    """
    predicted, majority = probabilities.argmax(1), baselines[MAJORITY].argmax(1)
    gains = {name: _gain(labels, one.argmax(1), predicted) for name, one in baselines.items()}
    recall_gain = None
    if gains[MAJORITY].interval[0] <= 0:
        both = majority[None], predicted[None]
        recall_gain = paired_bootstrap(labels, *both, len(class_names), mean_recall)
    return Comparison(
        evaluate_predictions(probabilities, labels, class_names),
        {name: evaluate_predictions(one, labels, class_names) for name, one in baselines.items()},
        gains,
        recall_gain,
        class_names[majority[0]],
    )


def format_baselines(metrics: Mapping[str, Any], scores: Mapping[str, Any]) -> str:
    """Return a table for a terminal: the model and each baseline, in percent.

    Args:
        metrics: ``baselines`` of the metrics of a run.
        scores: Evaluation of the model.
    """
    return format_table([("", *COLUMNS), *baseline_rows(metrics, scores)], are_numbers=True)


COLUMNS = ("accuracy", f"{INTERVAL_PERCENT} % interval", "weighted F1", "macro F1")


def baseline_rows(
    metrics: Mapping[str, Any], scores: Mapping[str, Any], digits: int = 1
) -> list[tuple[str, str, str, str, str]]:
    """Return the rows of a table with `COLUMNS`: the model and each baseline, in percent.

    Args:
        metrics: ``baselines`` of the metrics of a run.
        scores: Evaluation of the model.
        digits: Decimals of a percentage.
    """
    names = {MAJORITY: f"always '{metrics['majority_class']}'", **LINEAR}
    rows = {"this model": scores, **{names[n]: one for n, one in metrics["scores"].items()}}
    return [(name, *_cells(one, digits)) for name, one in rows.items()]


def _cells(scores: Mapping[str, Any], digits: int) -> tuple[str, str, str, str]:
    percent = {score: f"{100 * scores[score]:.{digits}f}" for score in SCORES}
    ends = " to ".join(f"{100 * end:.{digits}f}" for end in scores["intervals"]["accuracy"])
    return percent["accuracy"], ends, percent["f1_weighted"], percent["f1_macro"]


def _gain(
    labels: Int[np.ndarray, " batch"],
    baseline: Int[np.ndarray, " batch"],
    predicted: Int[np.ndarray, " batch"],
) -> Difference:
    """Return the difference in accuracy; only whether each post is right has a part in it."""
    first, second = ((one == labels).astype(np.int64)[None] for one in (baseline, predicted))
    return paired_bootstrap(np.ones_like(labels), first, second, BINARY, accuracy)


def _points(difference: Difference, score: str | None = None) -> str:
    low, high = (100 * end for end in difference.interval)
    return (
        f"{100 * difference.mean:.1f} points {f'of {score} ' if score else ''}"
        f"({INTERVAL_PERCENT} % interval {low:.1f} to {high:.1f})"
    )


def _short(difference: Difference, sign: int = 1) -> str:
    low, high = sorted(sign * 100 * end for end in difference.interval)
    return f"{sign * 100 * difference.mean:.1f} ({low:.1f} to {high:.1f})"
