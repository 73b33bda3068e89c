"""The regimes that losses are compared in are what their names say."""

import numpy as np
import pytest

from scripts.studies.constraints import data
from scripts.tables.regimes import UNCHANGED, by_regime, mean_gain

COUNTS = (600, 300, 150)


@pytest.fixture
def rows():
    classes = np.repeat(np.arange(3), COUNTS)
    values = np.arange(len(classes), dtype=float)[:, None]
    return data.Rows("made", values, classes, values[:30], classes[:30])


def change(rows, regime, level, seed=0):
    return data.regimes()[regime](rows, level, np.random.default_rng(seed))


@pytest.mark.parametrize("level", [5.0, 10.0, 25.0])
def test_a_share_is_of_each_class(rows, level):
    found = change(rows, data.SHARE, level)
    assert np.bincount(found.train_classes).tolist() == [round(n * level / 100) for n in COUNTS]
    assert (found.train_classes == rows.train_classes[found.train[:, 0].astype(int)]).all()


def test_a_class_keeps_two_rows(rows):
    assert np.bincount(change(rows, data.SHARE, 0.1).train_classes).tolist() == [2, 2, 2]


@pytest.mark.parametrize("level", [10.0, 40.0])
def test_flipped_labels_are_of_other_classes(rows, level):
    found = change(rows, data.FLIPPED, level)
    assert (found.train == rows.train).all()
    wrong = found.train_classes != rows.train_classes
    assert abs(wrong.mean() - level / 100) < 0.05
    for label in range(3):
        others = np.bincount(found.train_classes[wrong & (rows.train_classes == label)])
        assert others[others > 0].size == 2
    assert (change(rows, data.FLIPPED, level, seed=1).train_classes != found.train_classes).any()


@pytest.mark.parametrize("level", [1.0, 10.0, 100.0])
def test_the_largest_class_is_so_many_times_the_smallest(rows, level):
    counts = np.bincount(change(rows, data.BALANCE, level).train_classes)
    assert counts.max() / counts.min() == pytest.approx(level, rel=0.35)
    assert (counts <= COUNTS).all()
    assert (np.diff(counts) <= 0).all()


def test_pairs_of_digits_have_all_classes():
    for found in data.digit_pairs():
        assert set(found.train_classes) == set(found.test_classes)
        assert found.train.shape[1] == 128
    assert found.num_classes == 100


def test_gains_are_means_over_data_sets_with_intervals_over_draws():
    def entry(name, regime, ours, plain, level=3.0):
        losses = {"semantic congruity": {"scores": ours}, "cross-entropy": {"scores": plain}}
        return {"data": name, "regime": regime, "level": level, "losses": losses}

    content = {
        "regimes": [
            entry("one", "classes", [0.6, 0.8], [0.5, 0.5]),
            entry("two", "classes", [0.5, 0.5], [0.5, 0.5]),
            entry("pairs of digits", "classes", [0.1, 0.1], [0.2, 0.2], level=49),
            entry("pairs of digits", "classes", [0.1, 0.1], [0.2, 0.2], level=4),
            entry("one", "labels flipped, %", [0.1, 0.1], [0.2, 0.2]),
        ]
    }
    found = by_regime(content)
    assert [(place, len(entries)) for place, entries in found.items()] == [
        ((UNCHANGED, "-"), 2),
        (("labels flipped, %", "3"), 1),
        (("classes", "5"), 1),
        (("classes", "50"), 1),
    ]
    mean, low, high = mean_gain(found[UNCHANGED, "-"], "semantic congruity")
    assert mean == pytest.approx(0.1)
    assert low == pytest.approx(0.1 - 12.706 * 0.05, abs=1e-3)
    assert high == pytest.approx(0.1 + 12.706 * 0.05, abs=1e-3)
