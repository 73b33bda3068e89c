"""Labels in doubt, against the confident joint of cleanlab."""

import numpy as np
import pytest
from cleanlab.count import compute_confident_joint

from mvcn.audit.label_errors import likely_label_errors


@pytest.mark.parametrize("seed", range(5))
def test_the_labels_in_doubt_are_those_off_the_confident_joints_diagonal(seed):
    random = np.random.default_rng(seed)
    truth = random.integers(3, size=200)
    probabilities = random.dirichlet(np.ones(3), 200) + 2 * np.eye(3)[truth]
    probabilities /= probabilities.sum(1, keepdims=True)
    labels = np.where(random.random(200) < 0.2, random.integers(3, size=200), truth)
    _, expected = compute_confident_joint(
        labels, probabilities, calibrate=False, return_indices_of_off_diagonals=True
    )
    found = likely_label_errors(probabilities, labels)
    assert sorted(found) == sorted(expected)
    own = probabilities[found, labels[found]]
    assert (np.diff(own) >= 0).all()
    assert found


def test_a_class_that_nobody_has_is_never_suggested():
    probabilities = np.array([[0.1, 0.2, 0.7], [0.6, 0.2, 0.2], [0.3, 0.6, 0.1]])
    assert likely_label_errors(probabilities, np.array([0, 0, 1])) == []
