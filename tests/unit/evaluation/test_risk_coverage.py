"""Accuracy against coverage: by hand, and ties in every order."""

from itertools import permutations

import numpy as np
import pytest

from mvcn.errors import MvcnError
from mvcn.evaluation.risk_coverage import risk_coverage


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
