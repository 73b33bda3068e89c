"""Sparsity of attention: by hand, and by both normalizers of one model."""

import numpy as np
import pytest
import torch

from mvcn.explain.figures import draw_attention
from mvcn.explain.observation import (
    Observation,
    Sparsity,
    each_normalizer,
    measure_sparsity,
    observe,
)
from mvcn.inputs.batches import PostEncoder
from mvcn.training.run_folder import Run


def seen(weights):
    return Observation(weights, None, torch.zeros(1), np.array([1.0]))


def test_weights_are_sorted_by_token_before_they_are_averaged():
    one = torch.tensor([[[0.0, 1.0, 0.0], [0.75, 0.0, 0.25]]])
    other = torch.tensor([[[0.5, 0.0, 0.5], [0.2, 0.4, 0.4]]])
    found = measure_sparsity([seen(one), seen(other)])
    np.testing.assert_allclose(found.weights, [[0.875, 0.125, 0], [0.45, 0.45, 0.1]], atol=1e-7)
    assert found.zeros == pytest.approx((3 / 6 + 1 / 6) / 2)


def test_posts_without_an_image_do_not_count():
    half = torch.tensor([[[0.0, 1.0]]])
    assert measure_sparsity([seen(half), seen(torch.zeros(1, 1, 2)), seen(None)]).zeros == 0.5
    assert measure_sparsity([seen(None)]) is None


def test_both_normalizers_see_the_same_scores_and_the_model_stays_as_it_was(
    tiny_run, generated_posts
):
    run = Run(tiny_run)
    model, processor = run.model, run.processor
    posts = PostEncoder.for_model(model, processor).encode(generated_posts[:3])
    before = [one.weights for one in observe(model, posts)]
    found = {name: list(observe(model, posts)) for name in each_normalizer(model)}
    assert list(found) == ["sparsemax", "softmax"]
    for first, sparse, soft in zip(before, found["sparsemax"], found["softmax"], strict=True):
        assert torch.equal(first, sparse.weights)
        assert (soft.weights > 0).all()
        kept = torch.where(sparse.weights > 0, soft.weights, 1).amin(-1)
        left_out = torch.where(sparse.weights > 0, 0, soft.weights).amax(-1)
        assert (kept >= left_out - 1e-6).all()
    for one, after in zip(before, observe(model, posts), strict=True):
        assert torch.equal(one, after.weights)


def test_a_picture_has_a_panel_a_run():
    sparsity = {"softmax": Sparsity(np.full((3, 4), 0.25), 0.0)}
    sizes = [draw_attention(dict.fromkeys(names, sparsity)) for names in ("a", "ab")]
    widths = [int.from_bytes(png[16:20], "big") for png in sizes]
    assert widths[1] == 2 * widths[0]
