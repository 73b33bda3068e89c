"""Soft targets against numbers worked by hand."""

import math

import pytest
import torch

from mvcn.losses.calibration import soft_targets

POSITIVE, NEUTRAL, NEGATIVE, ABSENT = 0, 1, 2, -1


def targets(label, text, image, probabilities, distances=None, strength=0.5, temperature=2.0):
    """Return the soft target of one post as a list."""
    q = soft_targets(
        torch.tensor([label]),
        3,
        unimodal_labels=torch.tensor([[text, image]]),
        probabilities=torch.tensor([probabilities], dtype=torch.float64),
        distances=None if distances is None else torch.tensor([distances], dtype=torch.float64),
        strength=strength,
        temperature=temperature,
    )
    return q[0].tolist()


def approx(values):
    return pytest.approx(values, abs=1e-12, rel=0)


def test_a_post_with_two_labels_gives_way_as_the_model_believes_the_other_one():
    # u = (1/2, 1/2, 0), s = p_neutral = 0.3, e = 0.5 * 0.3 = 0.15, moved = 0.15 / 2 = 0.075.
    q = targets(POSITIVE, NEUTRAL, POSITIVE, [0.6, 0.3, 0.1])
    assert q == approx([0.925, 0.075, 0])


def test_the_order_of_text_and_image_does_not_matter():
    p = [0.2, 0.5, 0.3]
    assert targets(POSITIVE, NEUTRAL, POSITIVE, p) == targets(POSITIVE, POSITIVE, NEUTRAL, p)


def test_a_model_sure_of_the_label_keeps_the_hard_target():
    assert targets(POSITIVE, NEUTRAL, POSITIVE, [1.0, 0.0, 0.0]) == [1, 0, 0]


def test_a_model_sure_of_the_other_label_moves_half_of_the_strength():
    # s = 1, e = 0.5: q = 0.5 (1, 0, 0) + 0.5 (1/2, 1/2, 0).
    assert targets(POSITIVE, NEUTRAL, POSITIVE, [0.0, 1.0, 0.0]) == approx([0.75, 0.25, 0])


def test_a_class_that_nobody_named_is_no_reason():
    assert targets(POSITIVE, NEUTRAL, POSITIVE, [0.0, 0.0, 1.0]) == [1, 0, 0]


def test_at_full_strength_the_label_is_never_outvoted():
    q = targets(POSITIVE, NEUTRAL, POSITIVE, [0.0, 1.0, 0.0], strength=1.0)
    assert q == approx([0.5, 0.5, 0])


def test_a_label_that_neither_annotator_gave():
    # u = (0, 1/2, 1/2), s = 2 (0.3 / 2 + 0.1 / 2) = 0.4, e = 0.2.
    assert targets(POSITIVE, NEUTRAL, NEGATIVE, [0.6, 0.3, 0.1]) == approx([0.8, 0.1, 0.1])


def test_both_annotators_against_the_label_count_double_up_to_one():
    # u = (0, 1, 0); s = 2 * 0.3 = 0.6, e = 0.3; then s = min(1, 2 * 0.8) = 1, e = 0.5.
    assert targets(POSITIVE, NEUTRAL, NEUTRAL, [0.6, 0.3, 0.1]) == approx([0.7, 0.3, 0])
    assert targets(POSITIVE, NEUTRAL, NEUTRAL, [0.1, 0.8, 0.1]) == approx([0.5, 0.5, 0])


@pytest.mark.parametrize("distances", [None, [9.0, 0.1, 0.1]])
def test_a_consistent_post_keeps_its_label_exactly(distances):
    assert targets(NEGATIVE, NEGATIVE, NEGATIVE, [0.4, 0.4, 0.2], distances) == [0, 0, 1]


@pytest.mark.parametrize("unimodal", [(ABSENT, ABSENT), (NEUTRAL, ABSENT), (ABSENT, NEGATIVE)])
def test_absent_labels_and_no_distances_keep_the_label_exactly(unimodal):
    assert targets(POSITIVE, *unimodal, [0.2, 0.7, 0.1]) == [1, 0, 0]


@pytest.mark.parametrize("unimodal", [(ABSENT, ABSENT), (NEUTRAL, ABSENT), (ABSENT, NEGATIVE)])
def test_absent_labels_are_replaced_by_distances(unimodal):
    # exp(-D / 2) of D = (2 ln 2, 0, 2 ln 4) is (1/2, 1, 1/4): u = (2, 4, 1) / 7.
    # s = 2 (4 / 7 * 0.3 + 1 / 7 * 0.1) = 2.6 / 7, e = 1.3 / 7.
    distances = [2 * math.log(2), 0.0, 2 * math.log(4)]
    e = 1.3 / 7
    expected = [1 - e + e * 2 / 7, e * 4 / 7, e * 1 / 7]
    assert targets(POSITIVE, *unimodal, [0.6, 0.3, 0.1], distances) == approx(expected)


def test_labels_come_before_distances():
    with_distances = targets(POSITIVE, NEUTRAL, POSITIVE, [0.6, 0.3, 0.1], [5.0, 1.0, 0.0])
    assert with_distances == targets(POSITIVE, NEUTRAL, POSITIVE, [0.6, 0.3, 0.1])


def test_a_far_class_does_not_overflow():
    assert targets(POSITIVE, ABSENT, ABSENT, [0.6, 0.3, 0.1], [0.0, 1e30, 1e30]) == [1, 0, 0]


@pytest.mark.parametrize("unimodal", [(NEUTRAL, POSITIVE), (ABSENT, ABSENT), (NEUTRAL, NEGATIVE)])
def test_strength_zero_keeps_the_label_exactly(unimodal):
    q = targets(POSITIVE, *unimodal, [0.2, 0.7, 0.1], [3.0, 1.0, 2.0], strength=0.0)
    assert q == [1, 0, 0]


def test_targets_are_distributions_and_pass_no_gradient():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(200, 3, generator=generator, requires_grad=True)
    distances = torch.rand(200, 3, generator=generator, requires_grad=True)
    q = soft_targets(
        torch.randint(3, (200,), generator=generator),
        3,
        unimodal_labels=torch.randint(-1, 3, (200, 2), generator=generator),
        probabilities=logits.softmax(-1),
        distances=distances * 10,
        strength=1.0,
        temperature=1.0,
    )
    assert not q.requires_grad
    assert (q >= 0).all()
    torch.testing.assert_close(q.sum(1), torch.ones(200), atol=1e-6, rtol=0)
