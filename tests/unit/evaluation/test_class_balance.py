"""Offsets of the logits for macro F1: where they help, by how much, and where they do not."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import accuracy_score, f1_score

from mvcn.evaluation.class_balance import balance_classes


def drawn(shares, posts, seed=0, spread=1.0):
    """Logits of an ideal classifier of overlapping classes, log p(class | x), and the labels."""
    generator = np.random.default_rng(seed)
    labels = generator.choice(len(shares), posts, p=shares)
    seen = np.eye(len(shares))[labels] + generator.normal(0, spread, (posts, len(shares)))
    squares = ((seen[:, None] - np.eye(len(shares))) ** 2).sum(-1)
    return np.log(shares) - squares / (2 * spread**2), labels


def test_rare_classes_gain_and_accuracy_pays():
    logits, labels = drawn([0.8, 0.15, 0.05], 4000)
    found = balance_classes(logits, labels)
    assert found.f1_macro_after > found.f1_macro_before + 0.05
    assert found.accuracy_after < found.accuracy_before
    assert found.offsets[0] < found.offsets[1] < found.offsets[2]
    assert sum(found.offsets) == pytest.approx(0)


def test_the_scores_before_are_those_of_the_logits():
    logits, labels = drawn([0.7, 0.2, 0.1], 300)
    found, predicted = balance_classes(logits, labels), logits.argmax(1)
    assert found.accuracy_before == pytest.approx(accuracy_score(labels, predicted))
    assert found.f1_macro_before == pytest.approx(f1_score(labels, predicted, average="macro"))


def test_the_scores_after_hold_on_new_posts():
    """The offsets of 2000 posts on 20000 others: what was promised, to within a point."""
    logits, labels = drawn([0.8, 0.15, 0.05], 2000, seed=1)
    found = balance_classes(logits, labels)
    new, true = drawn([0.8, 0.15, 0.05], 20_000, seed=2)
    score = f1_score(true, (new + found.offsets).argmax(1), average="macro")
    assert found.f1_macro_after == pytest.approx(score, abs=0.02)


def test_an_offset_is_the_strength_times_the_rarity_of_the_class():
    logits, labels = drawn([0.8, 0.15, 0.05], 2000)
    found, counts = balance_classes(logits, labels), np.bincount(labels)
    differences = -np.subtract.outer(np.log(counts + 1), np.log(counts + 1))
    expected = found.strength * differences
    assert np.subtract.outer(found.offsets, found.offsets) == pytest.approx(expected)


def test_equally_frequent_classes_are_left_as_they_are():
    logits, _ = drawn([0.5, 0.5], 200)
    labels = np.arange(200) % 2
    assert balance_classes(logits, labels).offsets == pytest.approx((0, 0))


@pytest.mark.parametrize("posts", [1, 2, 6, 30])
def test_what_does_not_help_others_is_not_used(posts):
    logits = np.tile([2.0, 0.0], (posts, 1))  # says nothing of a post
    labels = np.zeros(posts, dtype=np.int64)
    labels[-1] = 1
    found = balance_classes(logits, labels)
    assert (found.strength, found.offsets) == (0.0, (0.0, 0.0))


def test_a_class_without_posts_has_a_finite_offset():
    logits, labels = drawn([0.7, 0.3], 200)
    logits = np.concatenate([logits, np.full((200, 1), -9.0)], 1)
    assert np.isfinite(softmax(logits + balance_classes(logits, labels).offsets, axis=1)).all()
