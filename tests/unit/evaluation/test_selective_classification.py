"""Accuracy against coverage, by hand; thresholds reach their precision on new posts."""

import re
from itertools import permutations

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from mvcn.errors import MvcnError
from mvcn.evaluation.selective_classification import at_least, choose_threshold, risk_coverage


def test_the_most_certain_posts_come_first():
    found = risk_coverage(np.array([0.5, 0.9, 0.7]), np.array([False, True, True]))
    np.testing.assert_allclose(found.coverage, [1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(found.accuracy, [1, 1, 2 / 3])
    assert found.area == pytest.approx(1 / 9)


def test_ties_count_as_the_mean_over_their_orders():
    certainty, is_right = np.array([0.9, 0.4, 0.4, 0.4]), np.array([True, False, True, False])
    orders = [
        risk_coverage(certainty - 1e-6 * np.array([0, *order]), is_right).accuracy
        for order in permutations(range(3))
    ]
    found = risk_coverage(certainty, is_right)
    np.testing.assert_allclose(found.accuracy, np.mean(orders, 0))


def test_without_posts_there_is_no_curve():
    with pytest.raises(MvcnError, match="no posts"):
        risk_coverage(np.empty(0), np.empty(0, bool))


def calibrated(generator, n):
    """Posts whose top probability, from 0.4 to 1, is the chance that they are right."""
    confidence = generator.uniform(0.4, 1, n)
    return confidence, generator.random(n) < confidence


def test_the_precision_holds_on_new_posts():
    """Above a threshold t the precision of such posts is (1 + t) / 2, whatever was drawn."""
    generator, broken = np.random.default_rng(0), 0
    for _ in range(500):
        threshold = choose_threshold(*calibrated(generator, n=1000), target_precision=0.8)
        broken += (1 + threshold.confidence) / 2 < 0.8
    assert broken <= 0.1 * 500


def test_more_posts_give_more_labels():
    few, many = (calibrated(np.random.default_rng(1), n) for n in (1000, 30_000))
    coverage = [choose_threshold(*posts, target_precision=0.8).coverage for posts in (few, many)]
    assert 0 < coverage[0] < coverage[1] < 2 / 3  # of all posts, 2/3 are above the best threshold
    assert coverage[1] >= 0.6


@pytest.mark.parametrize("chance", [1e-9, 0.03, 0.5, 0.8, 0.999])
@pytest.mark.parametrize("trials", [1, 20, 450, 30_000])
def test_the_tail_is_that_of_scipy(trials, chance):
    for hits in {0, 1, trials // 2, int(trials * chance), int(trials * 0.97), trials}:
        expected = binom.sf(hits - 1, trials, chance)
        assert at_least(hits, trials, chance) == pytest.approx(expected, rel=1e-8, abs=1e-300)


def test_the_bound_is_the_exact_binomial_one():
    """Of 20 thresholds each has a twentieth of a risk of 10 %."""
    confidence = np.linspace(1, 0.5, 200)
    is_right = np.arange(200) % 8 != 7
    threshold = choose_threshold(confidence, is_right, target_precision=0.8)
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
    threshold = choose_threshold(confidence, is_right, target_precision=0.9)
    assert (threshold.confidence, threshold.coverage, threshold.precision) == (0.9, 0.5, 1.0)


@pytest.mark.parametrize(("n", "share"), [(1, 1.0), (20, 1.0), (450, 0.5)])
def test_a_precision_out_of_reach_is_refused(n, share):
    is_right = np.arange(n) < share * n
    with pytest.raises(MvcnError, match=rf"On {n} held-out posts, no .* of 0.9"):
        choose_threshold(np.full(n, 0.7), is_right, target_precision=0.9)


def test_the_precision_to_ask_for_can_be_reached():
    posts = calibrated(np.random.default_rng(2), 450)
    with pytest.raises(MvcnError, match="use --precision") as refused:
        choose_threshold(*posts, target_precision=0.999)
    most = float(re.search(r"--precision (\S+) or less", str(refused.value))[1])
    assert choose_threshold(*posts, most).coverage > 0
    with pytest.raises(MvcnError):
        choose_threshold(*posts, most + 0.01)
