"""What a figure says is what its numbers say."""

import numpy as np
import pytest

from mvcn.evaluation.selective_classification import risk_coverage
from mvcn.explain.observation import Clusters
from mvcn.inputs.batches import EncodedPosts
from mvcn.report import interpretation
from mvcn.report.held_out import HeldOut


@pytest.fixture
def held_out():
    """Return a function from confidences and whether they are right to posts of two classes."""

    def build(confidence, is_right):
        rows = np.stack([np.array(confidence), 1 - np.array(confidence)], axis=1)
        labels = np.where(is_right, 0, 1)
        return HeldOut(object.__new__(EncodedPosts), labels, rows)

    return build


@pytest.mark.parametrize(
    ("right", "said"),
    [(90, "about as sure as it should be"), (60, "too sure"), (100, "not sure enough")],
)
def test_confidence_is_compared_with_accuracy(held_out, right, said):
    text = interpretation.of_calibration(held_out([0.9] * 100, np.arange(100) < right))
    assert f"is {said}: it gives its predictions 90 % on average, and {right} % of them" in text


def test_posts_that_the_model_is_sure_of_are_counted(held_out):
    posts = held_out([0.9, 0.85, 0.8, 0.7, 0.6], [True, True, False, False, True])
    assert interpretation.of_best(posts) == (
        "Of 3 posts with a probability of 80 % or more, 2 are right."
    )
    assert interpretation.of_worst(posts) == (
        "The model is wrong on 2 of 5 posts. "
        "Of 3 posts with a probability of 80 % or more, 1 is wrong."
    )
    unsure = held_out([0.6], [True])
    assert interpretation.of_best(unsure) == "It gives no post a probability of 80 % or more."


def test_the_certain_half_is_compared_with_all():
    curve = risk_coverage(np.linspace(1, 0.5, 8), np.array([1, 1, 1, 0, 0, 1, 0, 0], bool))
    assert interpretation.of_abstaining(curve) == (
        "Of the 4 posts that the model is most sure of, half of all, 75 % are right; "
        "of all 8, 50 %."
    )


@pytest.mark.parametrize(
    ("twice", "said"),
    [
        ([0.72, 0.8], "More posts should help"),
        ([0.68, 0.8], "More posts alone are not sure to help"),
        ([0.6, 0.69], "More posts alone should not help"),
    ],
)
def test_more_posts_help_where_the_interval_says_so(twice, said):
    curve = {"accuracy": [0.5, 0.7], "expected": {"2": twice, "4": [0.7, 0.9]}}
    text = interpretation.of_learning_curve(curve, 300)
    assert text.startswith(f"{said}: a linear model, which is right on 70 % of the posts now")
    assert f"{100 * twice[0]:.0f} to {100 * twice[1]:.0f} % with twice" in text


def test_doubtful_labels_are_a_share_of_all(held_out):
    text = interpretation.of_doubtful(2, held_out([0.9] * 8, [True] * 5 + [False] * 3))
    assert text.startswith("2 labels of 8 (25 %) are improbable")
    assert "wrong on 3 posts" in text


@pytest.mark.parametrize(
    ("silhouette", "said"), [(0.6, "lie well apart"), (0.3, "in part"), (-0.1, "overlap")]
)
def test_a_silhouette_is_put_into_words(silhouette, said):
    assert said in interpretation.of_clusters(Clusters(silhouette, 1.0))
