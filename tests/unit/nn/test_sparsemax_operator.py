"""Sparsemax as an operator of torch: tensors without numbers, traces, maps over batches."""

import sys

import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from mvcn.nn.sparsemax import row_library, sparsemax


@pytest.fixture(autouse=True, params=["torch", "C"])
def each_way(request, monkeypatch):
    """Let everything be computed by torch's operations, then everything by C code."""
    least = {"torch": 1 << 60, "C": 1}[request.param]
    monkeypatch.setattr(sys.modules["mvcn.nn.sparsemax"], "WORTH_COMPILING", least)
    if request.param == "C" and row_library(torch.float64) is None:
        pytest.skip("there is no C compiler")


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def some(*shape, seed=0):
    return normal(*shape, seed=seed) < 0.5


def gradient_of(scores, direction):
    return torch.autograd.grad(sparsemax(scores), scores, direction)[0]


def each(function, *batches):
    """Call a function for one sample after another."""
    return torch.stack([function(*samples) for samples in zip(*batches, strict=True)])


def assert_equal(one, other):
    torch.testing.assert_close(one, other, atol=0, rtol=0)


@pytest.mark.parametrize("mask_shape", [None, (6,), (4, 6), (4, 1, 1)])
def test_tensors_without_numbers_have_shape_type_and_gradient(mask_shape):
    with FakeTensorMode():
        mask = None if mask_shape is None else torch.ones(mask_shape, dtype=torch.bool)
        scores = torch.empty(2, 4, 6, dtype=torch.float16, requires_grad=True)
        if mask_shape == (4, 1, 1):
            scores = scores.transpose(0, 1)
        weights = sparsemax(scores, mask)
        (gradient,) = torch.autograd.grad(weights.sum(), scores)
    assert (weights.shape, weights.dtype) == (scores.shape, torch.float32)
    assert (gradient.shape, gradient.dtype) == (scores.shape, torch.float16)


def test_tensors_of_the_meta_device_have_a_shape():
    assert sparsemax(torch.empty(3, 5, device="meta")).shape == (3, 5)


@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
def test_a_trace_gives_the_weights_of_other_scores(mode):
    trace = make_fx(sparsemax, tracing_mode=mode)(normal(4, 6), some(4, 6))
    others = normal(4, 6, seed=1), some(4, 6, seed=1)
    assert_equal(trace(*others), sparsemax(*others))


@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
def test_a_trace_gives_the_gradient_of_other_scores(mode):
    trace = make_fx(gradient_of, tracing_mode=mode)(normal(4, 6).requires_grad_(), normal(4, 6))
    others = normal(4, 6, seed=1).requires_grad_(), normal(4, 6, seed=2)
    assert_equal(trace(*others), gradient_of(*others))


@pytest.mark.parametrize("shape", [(5,), (5, 6), (5, 3, 6), (5, 0, 6), (5, 3, 0)])
def test_is_mapped_over_samples(shape):
    scores = normal(*shape)
    assert_equal(torch.func.vmap(sparsemax)(scores), each(sparsemax, scores))


@pytest.mark.parametrize("mask_shape", [(5, 6), (5, 3, 6), (5, 1, 1)])
def test_is_mapped_over_samples_with_their_masks(mask_shape):
    scores, mask = normal(5, 3, 6), some(*mask_shape)
    expected = each(sparsemax, scores, mask)
    assert_equal(torch.func.vmap(sparsemax)(scores, mask), expected)
    last, axis = scores.movedim(0, -1), len(mask_shape) - 1
    mapped = torch.func.vmap(sparsemax, in_dims=(-1, axis))(last, mask.movedim(0, axis))
    assert_equal(mapped, expected)


def test_is_mapped_over_masks_of_the_same_scores():
    scores, masks = normal(3, 6), some(5, 6)
    mapped = torch.func.vmap(sparsemax, in_dims=(None, 0))(scores, masks)
    assert_equal(mapped, each(lambda mask: sparsemax(scores, mask), masks))
    mask = some(2, 3, 6)[0]
    mapped = torch.func.vmap(sparsemax, in_dims=(0, None))(normal(5, 3, 6), mask)
    assert_equal(mapped, sparsemax(normal(5, 3, 6), mask))


def test_is_mapped_twice():
    scores = normal(5, 3, 4, 6)
    mapped = torch.func.vmap(torch.func.vmap(sparsemax), in_dims=2, out_dims=2)(scores)
    assert_equal(mapped, sparsemax(scores))


def test_gradients_are_mapped_over_samples():
    scores, directions = normal(5, 3, 6), normal(5, 3, 6, seed=1)

    def gradient(scores, direction):
        return torch.func.grad(lambda s: (sparsemax(s) * direction).sum())(scores)

    expected = gradient_of(scores.clone().requires_grad_(), directions)
    torch.testing.assert_close(
        torch.func.vmap(gradient)(scores, directions), expected, atol=1e-15, rtol=0
    )


def test_a_batch_of_gradients_is_that_of_one_after_another():
    scores = normal(4, 6).requires_grad_()
    weights, directions = sparsemax(scores), normal(5, 4, 6, seed=1)
    options = {"retain_graph": True, "is_grads_batched": True}
    (gradients,) = torch.autograd.grad(weights, scores, directions, **options)
    assert_equal(gradients, each(lambda way: gradient_of(scores, way), directions))
    assert torch.autograd.gradcheck(sparsemax, scores, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(sparsemax, scores, check_batched_grad=True)


def test_both_ways_to_the_jacobian_agree():
    scores = normal(6)
    expected = torch.autograd.functional.jacobian(sparsemax, scores)
    torch.testing.assert_close(torch.func.jacrev(sparsemax)(scores), expected, atol=1e-15, rtol=0)


@pytest.mark.parametrize("masked", [False, True])
def test_keeps_to_what_torch_asks_of_an_operator(masked):
    scores = normal(4, 6).requires_grad_()
    arguments = scores, (some(6) if masked else None)
    torch.library.opcheck(torch.ops.mvcn.sparsemax.default, arguments)
    weights = sparsemax(*arguments).detach()
    torch.library.opcheck(torch.ops.mvcn.sparsemax_backward.default, (weights, normal(4, 6)))
