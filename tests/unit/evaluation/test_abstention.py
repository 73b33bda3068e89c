"""A threshold keeps its promise on new posts, and is refused where it could not."""

import numpy as np
import pytest
from scipy.stats import binomtest

from mvcn.errors import MvcnError
from mvcn.evaluation import choose_threshold


def calibrated(generator, n):
    """Posts whose top probability, from 0.4 to 1, is the chance that they are right."""
    confidence = generator.uniform(0.4, 1, n)
    return confidence, generator.random(n) < confidence


def test_the_promise_holds_on_new_posts():
    """Above a threshold t the precision of such posts is (1 + t) / 2, whatever was drawn."""
    generator, broken = np.random.default_rng(0), 0
    for _ in range(500):
        threshold = choose_threshold(*calibrated(generator, n=1000), wished=0.8)
        broken += (1 + threshold.confidence) / 2 < 0.8
    assert broken <= 0.1 * 500


def test_more_posts_give_more_labels():
    few, many = (calibrated(np.random.default_rng(1), n) for n in (1000, 30_000))
    coverage = [choose_threshold(*posts, wished=0.8).coverage for posts in (few, many)]
    assert 0 < coverage[0] < coverage[1] < 2 / 3  # of all posts, 2/3 are above the best threshold
    assert coverage[1] >= 0.6


def test_the_bound_is_the_exact_binomial_one():
    """Of 20 thresholds each has a twentieth of a risk of 10 %."""
    confidence = np.linspace(1, 0.5, 200)
    is_right = np.arange(200) % 8 != 7
    threshold = choose_threshold(confidence, is_right, wished=0.8)
    accepted = []
    for count in range(10, 201, 10):
        hits = int(is_right[:count].sum())
        bound = binomtest(hits, count, alternative="greater").proportion_ci(0.995).low
        accepted += [count] if bound >= 0.8 else []
    assert threshold.confidence == confidence[accepted[-1] - 1]
    assert threshold.coverage == accepted[-1] / 200
    assert threshold.precision == is_right[: accepted[-1]].mean()


def test_equal_probabilities_are_given_together():
    confidence = np.repeat([0.9, 0.6], 100)
    is_right = np.repeat([True, False], 100)
    threshold = choose_threshold(confidence, is_right, wished=0.9)
    assert (threshold.confidence, threshold.coverage, threshold.precision) == (0.9, 0.5, 1.0)


@pytest.mark.parametrize(("n", "share"), [(1, 1.0), (20, 1.0), (450, 0.5)])
def test_what_cannot_be_promised_is_refused(n, share):
    is_right = np.arange(n) < share * n
    with pytest.raises(MvcnError, match=rf"0.9 cannot be promised from {n} dev posts"):
        choose_threshold(np.full(n, 0.7), is_right, wished=0.9)
