"""The sentence about a model follows from paired intervals, and a class it misses is named."""

import numpy as np
import pytest

from mvcn.evaluation.baselines import (
    MAJORITY,
    baseline_rows,
    compare_with_baselines,
    format_baselines,
)
from mvcn.evaluation.metrics import accuracy, evaluate_predictions
from mvcn.evaluation.significance import Difference, paired_bootstrap

NAMES = ("negative", "neutral", "positive")
LABELS = np.repeat([0, 1, 2], [60, 20, 120])


def predictions(share_right, seed=0, names=NAMES, labels=LABELS):
    """Return probabilities for predictions of which a share is right, at random."""
    generator = np.random.default_rng(seed)
    is_right = generator.random(len(labels)) < share_right
    wrong = (labels + generator.integers(1, len(names), len(labels))) % len(names)
    return np.eye(len(names))[np.where(is_right, labels, wrong)]


def always(label, count=200, classes=3):
    return np.tile(np.full(classes, 0.1) + (1 - 0.1 * classes) * np.eye(classes)[label], (count, 1))


def compare(model, **linear):
    return compare_with_baselines(model, {MAJORITY: always(2), **linear}, LABELS, NAMES)


def test_a_better_model_is_called_better_than_both():
    found = compare(predictions(0.95), text=predictions(0.75, 1), image=predictions(0.5, 2))
    (sentence,) = found.conclusion()
    gain = found.gains[MAJORITY]
    assert sentence.startswith(
        f"Better than always saying 'positive' by {100 * gain.mean:.1f} points of accuracy "
        f"(95 % interval {100 * gain.interval[0]:.1f} to {100 * gain.interval[1]:.1f}), "
        "and than a linear model on text alone by "
    )


def test_differences_are_those_of_a_paired_bootstrap_of_the_predictions():
    model, text = predictions(0.8), predictions(0.7, 1)
    gain = compare(model, text=text).gains["text"]
    expected = paired_bootstrap(LABELS, text.argmax(1)[None], model.argmax(1)[None], 3, accuracy)
    assert gain == expected
    assert gain.interval[0] < gain.mean < gain.interval[1]


def test_scores_are_those_of_the_predictions():
    text = predictions(0.7)
    found = compare(predictions(0.8, 1), text=text).to_mapping()
    expected = evaluate_predictions(text, LABELS, NAMES)
    scores = found["scores"]["text"]
    assert scores["accuracy"] == expected.accuracy
    assert scores["f1_macro"] == expected.f1_macro
    assert scores["intervals"]["accuracy"] == list(expected.intervals["accuracy"])
    assert scores["gain"] == pytest.approx(
        (predictions(0.8, 1).argmax(1) == LABELS).mean() - scores["accuracy"]
    )
    assert found["scores"][MAJORITY]["accuracy"] == 120 / 200


def test_a_model_that_is_no_better_than_a_linear_one_is_said_to_be_so():
    model = predictions(0.9)
    (sentence,) = compare(model, text=model).conclusion()
    assert sentence.endswith(
        "but not measurably better than a linear model on text alone (--model logreg trains one "
        "in seconds)."
    )
    (sentence,) = compare(model, text=model).conclusion(is_linear=True)
    assert sentence.endswith("not measurably better than a linear model on text alone.")


def test_a_useful_model_that_a_linear_one_beats():
    (sentence,) = compare(predictions(0.8), both=predictions(0.97, 1)).conclusion()
    assert ", but worse than a linear model on text and image by " in sentence


def test_a_useless_model_is_not_to_be_used():
    sentences = compare(always(2), text=always(2)).conclusion()
    assert sentences[0].startswith(
        "Not measurably better than always saying 'positive', with a gain of 0.0 points"
    )
    assert sentences[0].endswith("): do not use it; label more posts.")
    worse = compare(predictions(0.3), text=predictions(0.9)).conclusion()[0]
    assert worse.startswith(
        "Not measurably better than always saying 'positive', but worse, with a gain of -"
    )
    assert "): do not use it. It is worse" in worse  # more posts help less than another model
    assert "It is worse than a linear model on text alone by" in worse


def test_a_model_that_finds_rare_classes_is_said_to_do_so():
    labels = np.repeat([0, 1], [400, 10])
    predicted = labels.copy()
    predicted[:8] = 1
    predicted[400:404] = 0  # 6 of 10 are found
    found = compare_with_baselines(
        np.eye(2)[predicted], {MAJORITY: always(0, 410, 2)}, labels, ("no", "yes")
    )
    useless, rare = found.conclusion()
    assert useless.startswith("Not measurably better than always saying 'no', with a gain of ")
    assert "do not use it" not in useless
    assert rare.startswith(
        "But it tells the classes apart: their mean recall is higher than by chance, by 29.0 points"
    )
    assert "rare" not in "".join(compare(predictions(1 / 3)).conclusion())


def test_a_class_that_is_never_predicted_is_named():
    model = np.where(LABELS[:, None] == 1, np.eye(3)[2], np.eye(3)[LABELS])
    assert compare(model).conclusion()[1] == "It finds no post of 'neutral' (20 posts)."
    assert len(compare(predictions(0.9)).conclusion()) == 1


def test_without_linear_baselines_the_sentence_ends():
    (sentence,) = compare(predictions(0.9)).conclusion()
    assert sentence.endswith(").")
    assert isinstance(compare(predictions(0.9)).gains[MAJORITY], Difference)


def test_the_table_has_the_model_first():
    model = predictions(0.9)
    metrics = compare(model, text=predictions(0.7)).to_mapping()
    rows = baseline_rows(metrics, evaluate_predictions(model, LABELS, NAMES).to_mapping())
    assert [row[0] for row in rows] == [
        "this model",
        "always 'positive'",
        "linear model on text alone",
    ]
    assert rows[1][1] == "60.0"
    table = format_baselines(metrics, evaluate_predictions(model, LABELS, NAMES).to_mapping())
    assert "95 % interval" in table.splitlines()[0]
