"""How good a model is, in plain words: better than what, by how much, and where it fails."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mvcn.errors import count_of
from mvcn.evaluation.baselines import LINEAR, MAJORITY
from mvcn.evaluation.metrics import Evaluation, mean_recall
from mvcn.evaluation.significance import paired_bootstrap
from mvcn.report.held_out import HeldOut
from mvcn.report.rounding import ends, number, percent


@dataclass(frozen=True, slots=True)
class Confusion:
    """The class that is most often taken for another one."""

    label: str
    predicted: str
    count: int
    support: int
    """Posts of the class."""

    @property
    def sentence(self) -> str:
        """The confusion in words."""
        return (
            f"{self.count:,} of {count_of(self.support, f'{self.label!r} post')} "
            f"{'is' if self.count == 1 else 'are'} taken for {self.predicted!r}"
        )


def worth(evaluation: Evaluation, baselines: Mapping[str, Any] | None) -> str:
    """Return how much better a model is than always predicting the most frequent class.

    Args:
        evaluation: On posts that the model was not trained on.
        baselines: Of the metrics of the run; None if an earlier version trained it.
    """
    if baselines is None:
        n, interval = evaluation.n, evaluation.intervals["accuracy"]
        return (
            f"Right on {percent(evaluation.accuracy, n)} of {count_of(n, 'post')} that it did not "
            f"learn (95 % interval {ends(interval, n)})."
        )
    n, found = baselines["posts"]["held_out"], baselines["scores"][MAJORITY]
    always, gain = found["accuracy"], found["gain"]
    return (
        f"{_compared(found['gain_interval'])} always saying {baselines['majority_class']!r}: right "
        f"on {percent(always + gain, n)} of {count_of(n, 'post')} that it was not trained on, "
        f"against {percent(always, n)}; the difference is {_points(gain, n)} (95 % interval "
        f"{ends(found['gain_interval'], n)})."
    )


def against_linear(baselines: Mapping[str, Any]) -> str:
    """Return how a model compares with the best linear baseline; empty if there is none."""
    name = best_linear(baselines)
    if name is None:
        return ""
    n, found = baselines["posts"]["held_out"], baselines["scores"][name]
    return (
        f"It is {_compared(found['gain_interval']).lower()} a {LINEAR[name]}, which is right on "
        f"{percent(found['accuracy'], n)} of the same posts: the difference is "
        f"{_points(found['gain'], n)} ({ends(found['gain_interval'], n)})."
    )


def best_linear(baselines: Mapping[str, Any]) -> str | None:
    """Return the linear baseline with the highest accuracy, of `LINEAR`; None if there is none."""
    scores = {name: one for name, one in baselines["scores"].items() if name in LINEAR}
    return max(scores, key=lambda name: scores[name]["accuracy"], default=None)


def tells_apart(held_out: HeldOut, classes: int) -> str:
    """Return whether the mean recall of the classes is higher than that of always the same class.

    Args:
        held_out: Posts that the model was not trained on.
        classes: Number of classes.
    """
    labels, n = held_out.labels, len(held_out.labels)
    same = np.full_like(labels, np.bincount(labels).argmax())
    gain = paired_bootstrap(labels, same[None], held_out.predicted[None], classes, mean_recall)
    start = "It does tell" if gain.interval[0] > 0 else "It does not measurably tell"
    return (
        f"{start} the classes apart: the mean recall of the classes is {_points(gain.mean, n)} "
        f"({ends(gain.interval, n)}) above that of always the same class."
    )


def found_classes(evaluation: Evaluation) -> str:
    """Return which class is found most often and which least often."""
    present = {name: one for name, one in evaluation.per_class.items() if one.support}
    best, worst = (choose(present, key=lambda k: present[k].recall) for choose in (max, min))
    if present[best].recall == present[worst].recall:
        return ""
    high, low = (
        f"{round(present[name].recall * present[name].support):,} of {present[name].support:,} "
        f"{name!r} posts"
        for name in (best, worst)
    )
    return f"It finds {high}, and {low}."


def most_confused(evaluation: Evaluation) -> Confusion | None:
    """Return the pair of classes with the most errors; None if there are none."""
    names, matrix = list(evaluation.per_class), np.array(evaluation.confusion_matrix)
    errors = matrix - np.diag(matrix.diagonal())
    label, predicted = np.unravel_index(errors.argmax(), errors.shape)
    count, support = int(errors[label, predicted]), int(matrix[label].sum())
    return Confusion(names[label], names[predicted], count, support) if count else None


def _compared(interval: Sequence[float]) -> str:
    low, high = interval
    return "Better than" if low > 0 else "Worse than" if high < 0 else "Not measurably better than"


def _points(difference: float, posts: int) -> str:
    text = number(difference, posts)
    return f"{text} point" if text in ("1", "-1") else f"{text} points"
