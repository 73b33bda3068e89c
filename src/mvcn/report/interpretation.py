"""What each figure of the page says of this model, in a sentence."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from mvcn.errors import count_of
from mvcn.evaluation.selective_classification import RiskCoverage
from mvcn.explain.observation import Clusters
from mvcn.report.held_out import HeldOut
from mvcn.report.rounding import ends, number, percent

STANDARD_ERRORS = 2
"""By which confidence and accuracy differ where that is not chance."""
SURE = 0.8
"""Probability from which the model is called sure."""
STRUCTURE = ((0.5, "lie well apart"), (0.25, "lie apart in part"), (-1.0, "overlap"))
"""Least silhouette -> what it means, by Kaufman and Rousseeuw, 1990, Table 4 of chapter 2."""


def of_calibration(held_out: HeldOut) -> str:
    """Return whether the model is about as sure as it is right."""
    confidence, accuracy, n = (
        float(held_out.probabilities.max(1).mean()),
        float(held_out.is_right.mean()),
        len(held_out.labels),
    )
    error = max(accuracy * (1 - accuracy) / n, 1 / n**2) ** 0.5
    surplus = (confidence - accuracy) / error
    verdict = (
        "too sure"
        if surplus > STANDARD_ERRORS
        else "not sure enough"
        if surplus < -STANDARD_ERRORS
        else "about as sure as it should be"
    )
    return (
        f"The model is {verdict}: it gives its predictions {percent(confidence, n)} on average, "
        f"and {percent(accuracy, n)} of them are right."
    )


def of_temperature(temperature: float, calibration: Mapping[str, float], n: int) -> str:
    """Return what the temperature changes.

    Args:
        temperature: What logits are divided by.
        calibration: Of the metrics of a run.
        n: Posts that the temperature was chosen on.
    """
    return (
        f"All logits are divided by a temperature of {temperature:.2g}: without it, the "
        f"calibration error would be {percent(calibration['error_before'], n)}, and with one that "
        f"other posts chose, {percent(calibration['error_after'], n)}."
    )


def of_abstaining(curve: RiskCoverage) -> str:
    """Return the accuracy on the more certain half of the posts."""
    n = len(curve.coverage)
    half = max(n // 2, 1)
    return (
        f"Of the {count_of(half, 'post')} that the model is most sure of, half of all, "
        f"{percent(float(curve.accuracy[half - 1]), half)} are right; of all "
        f"{n:,}, {percent(float(curve.accuracy[-1]), n)}."
    )


def of_learning_curve(curve: Mapping[str, Any], n: int) -> str:
    """Return what more posts would bring.

    Args:
        curve: ``learning_curve`` of the baselines in the metrics of a run.
        n: Posts that the accuracies are about.
    """
    now, twice, four = curve["accuracy"][-1], curve["expected"]["2"], curve["expected"]["4"]
    verdict = (
        "More posts should help"
        if twice[0] > now
        else "More posts alone are not sure to help"
        if twice[1] > now
        else "More posts alone should not help"
    )
    return (
        f"{verdict}: a linear model, which is right on {percent(now, n)} of the posts now, is "
        f"expected at {ends(twice, n)} % with twice as many, and at {ends(four, n)} % with four "
        "times as many."
    )


def of_best(held_out: HeldOut) -> str:
    """Return how often the model is right where it is sure."""
    return _of_sure(held_out, held_out.is_right, "right")


def of_worst(held_out: HeldOut) -> str:
    """Return how often the model is wrong, and how often although it is sure."""
    n, wrong = len(held_out.labels), int((~held_out.is_right).sum())
    start = f"The model is wrong on {wrong:,} of {count_of(n, 'post')}."
    return f"{start} {_of_sure(held_out, ~held_out.is_right, 'wrong')}"


def _of_sure(held_out: HeldOut, chosen: Bool[np.ndarray, " batch"], what: str) -> str:
    is_sure: Float[np.ndarray, " batch"] = held_out.probabilities.max(1) >= SURE
    count = int(is_sure.sum())
    if not count:
        return f"It gives no post a probability of {100 * SURE:.0f} % or more."
    hits = int((chosen & is_sure).sum())
    return (
        f"Of {count_of(count, 'post')} with a probability of {100 * SURE:.0f} % or more, "
        f"{hits:,} {'is' if hits == 1 else 'are'} {what}."
    )


def of_doubtful(doubtful: int, held_out: HeldOut) -> str:
    """Return how many labels are in doubt, and how many errors of the model there are."""
    n, wrong = len(held_out.labels), int((~held_out.is_right).sum())
    share = percent(doubtful / n, n)
    return (
        f"{count_of(doubtful, 'label')} of {n:,} ({share}) {'is' if doubtful == 1 else 'are'} "
        "improbable to a model that was not trained on the post. As this model is wrong on "
        f"{wrong:,} posts, some of these labels are right: read from the top, and stop where they "
        "mostly are."
    )


def of_clusters(clusters: Clusters) -> str:
    """Return how well the classes lie apart."""
    words = next(words for least, words in STRUCTURE if clusters.silhouette > least)
    return f"The classes {words}: their silhouette is {clusters.silhouette:.2f}."


def of_areas(areas: Mapping[str, float], error: float, n: int) -> str:
    """Return which reason to give no label leaves the fewest errors.

    Args:
        areas: Reason -> area under its risk-coverage curve.
        error: Share of wrong labels among all posts.
        n: Number of posts.
    """
    shown = ", ".join(f"{number(area, n)} % by {name}" for name, area in areas.items())
    return f"over all shares of posts with a label: {shown}, {percent(error, n)} by chance."
