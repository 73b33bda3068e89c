"""Tests of differences: against SciPy, scikit-learn and cases counted by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from mvcn.errors import MvcnError
from mvcn.evaluation.metrics import METRICS
from mvcn.evaluation.significance import (
    holm,
    mcnemar_test,
    paired_bootstrap,
    sign_flip_test,
    two_sample_test,
)

SKLEARN = {
    "accuracy": accuracy_score,
    "f1_weighted": lambda y, p: f1_score(
        y, p, labels=range(3), average="weighted", zero_division=0
    ),
    "f1_macro": lambda y, p: f1_score(y, p, labels=range(3), average="macro", zero_division=0),
    "f1_binary": lambda y, p: f1_score(y, p, labels=[1], average="macro", zero_division=0),
}


def predictions(labels, share_right, seeds, seed=0):
    """Return a row a seed, right with the given probability and else any class."""
    generator = np.random.default_rng(seed)
    guess = generator.integers(3, size=(seeds, len(labels)))
    return np.where(generator.random(guess.shape) < share_right, labels, guess)


@pytest.fixture
def labels():
    return np.random.default_rng(7).choice(3, size=200, p=[0.6, 0.3, 0.1])


@pytest.mark.parametrize("name", METRICS)
def test_metrics_agree_with_scikit_learn(name, labels):
    rows = predictions(labels, 0.5, 4)
    matrices = np.array([confusion_matrix(labels, row, labels=range(3)) for row in rows], float)
    expected = [SKLEARN[name](labels, row) for row in rows]
    np.testing.assert_allclose(METRICS[name](matrices), expected, atol=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_difference_is_that_of_the_means_over_seeds(name, labels):
    first, second = predictions(labels, 0.4, 3), predictions(labels, 0.6, 5, seed=1)
    expected = np.mean([SKLEARN[name](labels, row) for row in second]) - np.mean(
        [SKLEARN[name](labels, row) for row in first]
    )
    found = paired_bootstrap(labels, first, second, 3, METRICS[name], resamples=200)
    assert found.mean == pytest.approx(expected, abs=1e-12)
    assert found.interval[0] < found.mean < found.interval[1]


def test_interval_over_posts_agrees_with_scipy(labels):
    """With one seed each only posts are drawn, as SciPy's bootstrap of the paired gains does."""
    first, second = predictions(labels, 0.4, 1), predictions(labels, 0.6, 1, seed=1)
    gains = (second[0] == labels).astype(float) - (first[0] == labels)
    expected = stats.bootstrap(
        (gains,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    found = paired_bootstrap(labels, first, second, 3, METRICS["accuracy"], resamples=20_000)
    np.testing.assert_allclose(found.interval, expected, atol=0.006)  # a post is 0.005


def test_seeds_that_differ_widen_the_interval(labels):
    good, bad = predictions(labels, 0.8, 1), predictions(labels, 0.2, 1, seed=1)
    steady, unsteady = np.concatenate([good, good]), np.concatenate([good, bad])
    other = predictions(labels, 0.5, 2, seed=2)
    widths = []
    for rows in (steady, unsteady):
        low, high = paired_bootstrap(labels, other, rows, 3, METRICS["accuracy"], 1000).interval
        widths.append(high - low)
    assert widths[1] > 2 * widths[0]


def test_equal_systems_differ_by_noise_and_unlike_ones_do_not(labels):
    rows = predictions(labels, 0.5, 3)
    same = paired_bootstrap(labels, rows, rows[::-1], 3, METRICS["accuracy"], 500)
    assert same.mean == pytest.approx(0, abs=1e-12)
    assert same.is_noise
    better = paired_bootstrap(
        labels, rows, predictions(labels, 0.9, 3, seed=1), 3, METRICS["accuracy"], 500
    )
    assert not better.is_noise
    assert better.p_value == pytest.approx(2 / 501)  # never turned, and 1 is added to the count


def test_order_of_systems_turns_the_sign(labels):
    first, second = predictions(labels, 0.5, 1), predictions(labels, 0.6, 1, seed=1)
    one = paired_bootstrap(labels, first, second, 3, METRICS["f1_macro"], 300)
    other = paired_bootstrap(labels, second, first, 3, METRICS["f1_macro"], 300)
    assert one.mean == -other.mean
    np.testing.assert_allclose(one.interval, [-end for end in other.interval[::-1]], atol=1e-12)


@pytest.mark.parametrize("differences", [[1.0, 2.0, 0.5, 0.1, 3.0], [1.0, -2.0, 0.5], [0.0, 0.0]])
def test_sign_flips_agree_with_scipy(differences):
    expected = stats.permutation_test(
        (np.array(differences),), np.mean, permutation_type="samples", n_resamples=np.inf
    ).pvalue
    assert sign_flip_test(differences) == pytest.approx(expected)


def test_equal_sums_are_equal_however_they_round():
    """Accuracies of 450 posts: as whole numbers of posts all signs give |sum| >= 0."""
    posts = [3, 2, -3, -1, 4, -5]
    assert sign_flip_test([(300 + n) / 450 - 300 / 450 for n in posts]) == 1


@given(st.lists(st.integers(-6, 6), min_size=1, max_size=7))
def test_sign_flips_agree_with_whole_numbers(posts):
    signs = itertools.product((1, -1), repeat=len(posts))
    sums = [abs(sum(s * n for s, n in zip(way, posts, strict=True))) for way in signs]
    expected = np.mean([total >= abs(sum(posts)) for total in sums])
    assert sign_flip_test([(300 + n) / 450 - 300 / 450 for n in posts]) == expected


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([0.71, 0.74, 0.73], [0.75, 0.76, 0.72, 0.78]),
        ([1.0, 2.0], [3.0, 1.0]),
        ([0.5, 0.5], [0.5, 0.5]),
    ],
)
def test_unpaired_seeds_agree_with_scipy(first, second):
    expected = stats.permutation_test(
        (np.array(first), np.array(second)),
        lambda x, y: abs(np.mean(x) - np.mean(y)),
        permutation_type="independent",
        alternative="greater",
        n_resamples=np.inf,
    ).pvalue
    assert two_sample_test(first, second) == pytest.approx(expected)
    assert two_sample_test(second, first) == pytest.approx(expected)


def test_five_and_five_unpaired_seeds_reach_two_in_252_at_best():
    assert two_sample_test([0.1, 0.2, 0.3, 0.4, 0.5], [1.1, 1.2, 1.3, 1.4, 1.5]) == 2 / 252


def test_unpaired_seeds_by_hand():
    # {1, 2} against 3 and {2, 3} against 1 have a gap of 1.5, {1, 3} against 2 has none.
    assert two_sample_test([1.0, 2.0], [3.0]) == pytest.approx(2 / 3)


def test_unpaired_seeds_without_an_answer():
    assert two_sample_test([0.1] * 15, [0.2] * 15) is None  # 155 million ways
    with pytest.raises(MvcnError, match="at least one score of each system"):
        two_sample_test([], [0.1])


def test_five_seeds_reach_two_in_thirty_two_at_best():
    assert sign_flip_test([0.1, 0.2, 0.3, 0.4, 0.5]) == 2 / 32
    assert sign_flip_test([0.1]) == 1


@pytest.mark.parametrize("count", [0, 21])
def test_the_test_over_seeds_says_how_many_it_takes(count):
    with pytest.raises(MvcnError, match=f"takes 1 to 20 seeds, not {count}"):
        sign_flip_test([0.1] * count)


def test_mcnemar_counts_the_posts_that_one_gets_right():
    labels = np.zeros(20, dtype=int)
    first = np.array([0] * 10 + [1] * 10)
    second = np.array([0] * 9 + [1] + [0] * 6 + [1] * 4)
    # 6 gained and 1 lost: twice the chance of 6 or 7 heads in 7 throws
    assert mcnemar_test(labels, first, second) == pytest.approx(2 * (7 + 1) / 2**7)
    assert mcnemar_test(labels, second, first) == mcnemar_test(labels, first, second)
    assert mcnemar_test(labels, first, first) == 1


def test_holm_by_hand():
    # sorted: 0.01 * 4, 0.02 * 3, 0.03 * 2, 0.5 * 1; never less than the one before
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([0.6, 0.9]) == [1, 1]
    assert holm([]) == []


def test_holm_keeps_order_and_never_lowers():
    for values in itertools.permutations([0.001, 0.04, 0.04, 0.2]):
        corrected = holm(values)
        assert all(c >= v for c, v in zip(corrected, values, strict=True))
        assert np.all(np.diff(np.array(corrected)[np.argsort(values, kind="stable")]) >= 0)
