"""A learning curve predicts what more posts give, and how sure that is."""

import numpy as np
import pytest

from mvcn.evaluation.learning_curve import LearningCurve

POSTS = (25, 100, 400)


def curve(noise):
    """Return five folds of ``0.8 - 1 / sqrt(n)``, each with its own level and slope."""
    generator = np.random.default_rng(0)
    slopes = 1 + noise * generator.normal(size=(5, 1))
    levels = noise * generator.normal(size=(5, 1))
    return LearningCurve(POSTS, 0.8 + levels - slopes * np.array(POSTS) ** -0.5)


def test_a_curve_without_noise_is_continued():
    found = curve(noise=0)
    assert found.expected(4) == pytest.approx((0.8 - 1 / 40,) * 2)
    assert found.expected(1) == pytest.approx((0.75, 0.75))


def test_the_interval_is_that_of_the_gain_over_folds():
    narrow, wide = curve(noise=0.1), curve(noise=0.5)
    widths = [high - low for low, high in (narrow.expected(4), wide.expected(4))]
    assert 0 < widths[0] < widths[1]
    low, high = narrow.expected(2)
    gain = 1 / 20 - 1 / np.sqrt(800)
    assert low < narrow.accuracy[:, -1].mean() + gain < high


def test_accuracies_end_at_0_and_1():
    steep = LearningCurve(POSTS, np.array([[0.1, 0.6, 0.98], [0.2, 0.7, 0.99]]))
    assert steep.expected(4)[1] == 1


def test_it_says_whose_curve_it_is():
    assert curve(noise=0).sentence("a linear model on text alone") == (
        "What more posts give, by the learning curve of a linear model on text alone: 75.0 % "
        "accuracy now, about 76.5 to 76.5 with twice the posts, 77.5 to 77.5 with four times."
    )


def test_plain_values_for_json():
    found = curve(noise=0).to_mapping()
    assert found["posts"] == list(POSTS)
    assert found["accuracy"] == pytest.approx([0.6, 0.7, 0.75])
    assert found["expected"]["2"] == pytest.approx([0.8 - 1 / np.sqrt(800)] * 2)
