"""Deletion and insertion curves: their ends, their orders, and what knows nothing."""

import numpy as np
import pytest
import torch

from mvcn.explain.observation import observe
from mvcn.explain.saliency import (
    CONTROL,
    METHODS,
    NUM_STEPS,
    _summary,
    deletion_masks,
    faithfulness,
    most_faithful,
)
from mvcn.inputs.batches import PostEncoder
from mvcn.training.run_folder import Run


@pytest.fixture(scope="module")
def measured(tiny_run, generated_posts):
    run = Run(tiny_run)
    model, processor = run.model, run.processor
    posts = PostEncoder.for_model(model, processor).encode(generated_posts[:12])
    return model, posts, faithfulness(model, posts)


def test_tokens_go_in_order_a_tenth_at_a_time():
    masks = deletion_masks(torch.arange(20).flip(0))
    assert masks.sum(1).tolist() == list(range(20, -1, -2))
    assert masks[1].nonzero().flatten().tolist() == list(range(18))
    assert not (masks[1:] & ~masks[:-1]).any()


def test_curves_begin_and_end_with_the_whole_image_and_none(measured):
    model, posts, curves = measured
    top = np.mean([seen.probabilities.max() for seen in observe(model, posts)])
    assert set(curves) == {*METHODS, CONTROL}
    for curve in curves.values():
        assert len(curve.deletion) == len(curve.insertion) == NUM_STEPS + 1
        assert curve.deletion[0] == pytest.approx(curve.insertion[-1], abs=1e-6)
        assert curve.deletion[-1] == pytest.approx(curve.insertion[0], abs=1e-6)
        assert curve.deletion[0] == pytest.approx(top, abs=1e-6)


def test_what_looks_at_the_output_beats_what_knows_nothing(measured):
    *_, curves = measured
    assert curves["occlusion"].gap > curves[CONTROL].gap
    assert curves["occlusion"].interval[0] > 0
    assert most_faithful(curves) != CONTROL


def test_the_gap_is_the_mean_distance_of_the_curves():
    deletion, insertion = np.full(11, 0.2), np.full(11, 0.7)
    curve = _summary(np.stack([[deletion, insertion], [deletion, deletion]]))
    assert curve.gap == pytest.approx(0.25)
    assert curve.interval == pytest.approx((0.0, 0.5))


def test_posts_without_an_image_are_passed_over(tiny_run, generated_posts):
    from dataclasses import replace

    run = Run(tiny_run)
    model, processor = run.model, run.processor
    some = [generated_posts[0], replace(generated_posts[1], image=None)]
    both = faithfulness(model, PostEncoder.for_model(model, processor).encode(some), ["occlusion"])
    alone = faithfulness(
        model, PostEncoder.for_model(model, processor).encode(some[:1]), ["occlusion"]
    )
    np.testing.assert_allclose(both["occlusion"].deletion, alone["occlusion"].deletion, atol=1e-9)
