"""Recommendations follow from numbers, and none is made without them."""

import numpy as np
import pytest

from mvcn.evaluation.metrics import evaluate_predictions
from mvcn.evaluation.selective_classification import Threshold
from mvcn.report.next_steps import MOST_STEPS, Numbers, is_better_than_majority, next_steps

NAMES = ("negative", "neutral", "positive")
PLENTY = dict.fromkeys(NAMES, 200)


def evaluation(*rows):
    """Scores of a confusion matrix."""
    cells = [
        (label, said)
        for label, row in enumerate(rows)
        for said, n in enumerate(row)
        for _ in range(n)
    ]
    labels, said = np.array(cells).T
    return evaluate_predictions(np.eye(3)[said], labels, NAMES)


PERFECT = evaluation((200, 0, 0), (0, 200, 0), (0, 0, 200))


def steps(metrics=None, evaluated=PERFECT, learned=PLENTY, doubtful=0, thresholds=None, **others):
    numbers = Numbers(metrics or {}, evaluated, learned, doubtful, thresholds or {}, **others)
    return next_steps(numbers)


def baselines(gain, low, high):
    scores = {"accuracy": 0.7, "gain": gain, "gain_interval": [low, high]}
    return {
        "baselines": {
            "posts": {"train": 600, "held_out": 600},
            "scores": {"majority": scores, "text": scores},
        }
    }


def scores(posts, accuracy, interval):
    return {"n": posts, "accuracy": accuracy, "intervals": {"accuracy": interval}}


def test_a_model_without_faults_gets_no_advice():
    assert steps() == []


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ((-0.1, -0.2, -0.01), "Use a linear model on text alone instead: it is right on 70 %"),
        ((-0.01, -0.04, 0.02), "Compare it with a linear model on text alone: it is right on 70 %"),
        ((0.01, -0.02, 0.04), None),
        ((0.1, 0.05, 0.15), None),
    ],
)
def test_a_linear_model_is_preferred_unless_this_one_is_better(found, said):
    texts = [step.text for step in steps(baselines(*found))]
    assert [text[: len(said)] for text in texts] == [said] if said else texts == []
    assert steps(baselines(*found), is_linear=True) == []
    assert is_better_than_majority(baselines(*found)) == (found[1] > 0)


def test_a_rare_class_that_is_not_found_needs_more_posts():
    evaluated = evaluation((180, 0, 20), (5, 10, 15), (20, 0, 180))
    (step,) = steps(evaluated=evaluated, learned={"negative": 200, "neutral": 30, "positive": 200})
    assert (
        step.text
        == "Label more posts of 'neutral': the model was trained on 30 of them and finds 10 of 30."
    )


def test_a_frequent_class_that_is_not_found_needs_a_clearer_definition():
    evaluated = evaluation((80, 0, 120), (0, 200, 0), (0, 0, 200))
    (step,) = steps(evaluated=evaluated)
    assert "what tells 'negative' from 'positive'" in step.text
    assert "120 of 200 'negative' posts are taken for 'positive'" in step.text


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        ({"bad_images": {"train": {"1": "gone"}, "dev": {}}}, "Correct 1 image that could not be"),
        ({"texts": {"train": {"texts": 50, "truncated": 10, "max_tokens": 64}}}, "20 % of them"),
        (
            {
                "class_balance": {
                    "f1_macro_before": 0.5,
                    "f1_macro_after": 0.58,
                    "accuracy_before": 0.7,
                    "accuracy_after": 0.68,
                }
            },
            "it is 58 % in place of 50, and accuracy 70 becomes 68",
        ),
        (
            {"baselines": baselines(0.1, 0.05, 0.2)["baselines"]
                | {"learning_curve": {"accuracy": [0.6, 0.7], "expected": {"2": [0.72, 0.78]}}}},
            "with twice as many, about 72 to 78 % would be right, where 70 % are now",
        ),
        (
            {
                "by_modality": {
                    "text and image": scores(500, 0.8, [0.76, 0.84]),
                    "text alone": scores(100, 0.6, [0.5, 0.7]),
                }
            },
            "60 % of those posts are right, and 80 % of posts with an image",
        ),
    ],
)  # fmt: skip
def test_each_number_leads_to_its_advice(metrics, said):
    (step,) = steps(metrics)
    assert said in step.text


def test_doubtful_labels_are_counted_and_few_posts_are_named():
    (step,) = steps(doubtful=30)
    assert "Look at 30 doubtful labels (5 % of 600)" in step.text
    few = evaluation((3, 1, 0), (0, 4, 1), (0, 1, 3))
    assert any("13 posts leave an interval of" in step.text for step in steps(evaluated=few))


def test_the_highest_precision_that_is_reached_is_recommended():
    thresholds = {"0.8": Threshold(0.6, 0.9, 0.85), "0.9": Threshold(0.8, 0.5, 0.94), "0.95": None}
    (step,) = steps(thresholds=thresholds)
    assert step.command == "mvcn predict --precision 0.9"
    assert "50 % of the posts get one, and 94 % of these are right" in step.text


def test_there_are_never_more_steps_than_one_can_take():
    evaluated = evaluation((3, 1, 0), (2, 1, 1), (0, 1, 3))
    metrics = baselines(-0.1, -0.2, -0.01) | {"bad_images": {"train": {"1": "gone"}}}
    thresholds = {"0.9": Threshold(0.8, 0.5, 0.94)}
    metrics["texts"] = {"train": {"texts": 5, "truncated": 4, "max_tokens": 64}}
    assert len(steps(metrics, evaluated, doubtful=4, thresholds=thresholds)) == MOST_STEPS
