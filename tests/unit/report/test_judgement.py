"""The first lines of the page: better than what, by how much, on how many posts."""

import re

import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from mvcn.evaluation.baselines import MAJORITY, compare_with_baselines
from mvcn.evaluation.metrics import evaluate_predictions
from mvcn.report.judgement import against_linear, found_classes, most_confused, worth

THREE = ("negative", "neutral", "positive")
TWO = ("no", "yes")
MANY = tuple(f"class {k}" for k in range(12))


def drawn(labels, share_right, classes, seed=0):
    """Probabilities for predictions of which about a share is right."""
    generator = np.random.default_rng(seed)
    wrong = (labels + generator.integers(1, classes, len(labels))) % classes
    return np.eye(classes)[np.where(generator.random(len(labels)) < share_right, labels, wrong)]


def judged(names, share_right, posts=200, **linear):
    """An evaluation and baselines, as metrics have them; every other post is of the last class."""
    generator, last = np.random.default_rng(1), len(names) - 1
    labels = np.where(np.arange(posts) % 2, last, generator.integers(0, last + 1, posts))
    model = drawn(labels, share_right, len(names))
    majority = np.tile(np.eye(len(names))[last], (posts, 1))
    others = {name: drawn(labels, share, len(names), 2) for name, share in linear.items()}
    found = compare_with_baselines(model, {MAJORITY: majority, **others}, labels, names)
    metrics = {"posts": {"train": posts, "held_out": posts}, **found.to_mapping()}
    return evaluate_predictions(model, labels, names), metrics, labels, model


@pytest.mark.parametrize("names", [TWO, THREE, MANY], ids=len)
def test_a_better_model_is_called_better_with_the_numbers_of_its_posts(names):
    evaluation, metrics, labels, model = judged(names, 0.97)
    right, always = accuracy_score(labels, model.argmax(1)), np.mean(labels == len(names) - 1)
    text = worth(evaluation, metrics)
    assert text.startswith(f"Better than always saying '{names[-1]}': right on {100 * right:.0f} %")
    assert f"of 200 posts that it was not trained on, against {100 * always:.0f} %" in text
    gain, low, high = re.search(
        r"is (-?\d+) points \(95 % interval (-?\d+) to (-?\d+)\)", text
    ).groups()
    assert float(gain) == round(100 * (right - always))
    assert 0 < int(low) < int(gain) < int(high)


@pytest.mark.parametrize("names", [TWO, THREE, MANY], ids=len)
def test_a_model_that_is_no_better_than_the_majority_is_called_so(names):
    _, metrics, labels, _ = judged(names, 0.5)
    always = np.mean(labels == len(names) - 1)
    evaluation, metrics, *_ = judged(names, always)
    assert worth(evaluation, metrics).startswith("Not measurably better than always saying")
    evaluation, metrics, *_ = judged(names, 0.1)
    assert worth(evaluation, metrics).startswith("Worse than always saying")


def test_a_run_without_baselines_is_judged_by_its_accuracy():
    evaluation, _, labels, model = judged(THREE, 0.9)
    right = 100 * accuracy_score(labels, model.argmax(1))
    assert worth(evaluation, None).startswith(
        f"Right on {right:.0f} % of 200 posts that it did not"
    )


@pytest.mark.parametrize(
    ("share", "said"),
    [(0.99, "It is worse than"), (0.8, "It is not measurably"), (0.5, "It is better")],
)
def test_the_best_linear_model_is_named(share, said):
    _, metrics, labels, _ = judged(THREE, 0.8, text=share, image=0.3)
    text = against_linear(metrics)
    assert text.startswith(said)
    right = accuracy_score(labels, drawn(labels, share, 3, 2).argmax(1))
    assert f"a linear model on text alone, which is right on {100 * right:.0f} % of" in text


def test_texts_alone_are_compared_with_a_model_of_texts_and_none_with_nothing():
    _, metrics, *_ = judged(TWO, 0.8, text=0.6)
    assert "linear model on text alone" in against_linear(metrics)
    assert "image" not in against_linear(metrics)
    assert against_linear(judged(TWO, 0.8)[1]) == ""


def test_the_most_frequent_error_and_the_classes_are_those_of_the_predictions():
    labels = np.array([0] * 5 + [1] * 4 + [2] * 3)
    predicted = np.array([2, 2, 2, 0, 0, 1, 1, 1, 0, 2, 2, 2])
    evaluation = evaluate_predictions(np.eye(3)[predicted], labels, THREE)
    confused = most_confused(evaluation)
    assert confused.sentence == "3 of 5 'negative' posts are taken for 'positive'"
    assert (
        found_classes(evaluation)
        == "It finds 3 of 3 'positive' posts, and 2 of 5 'negative' posts."
    )
    perfect = evaluate_predictions(np.eye(3)[labels], labels, THREE)
    assert most_confused(perfect) is None
    assert found_classes(perfect) == ""
