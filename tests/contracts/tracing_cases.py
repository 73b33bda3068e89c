"""Cases of `test_tracing.py`: traced modules give the numbers of the plain ones."""

import sys

import pytest
import torch
from torch import nn

from mvcn.nn import MultiHeadAttention, ReductionUnit, TextGuidedFusion, sparsemax

# The compiler itself makes an instance of autograd.Function, against torch's own warning.
pytestmark = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")

ROWS = torch.export.Dim("rows", min=2, max=64)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mask_of(*lengths, size):
    return torch.arange(size) < torch.tensor(lengths).unsqueeze(1)


def assert_exports(module, inputs, other_inputs, strict=False):
    """Export with a free batch size; compare at another one."""
    shapes = (tuple({0: ROWS} for _ in inputs),)
    module = FirstResult(module).double().eval()
    exported = torch.export.export(module, inputs, dynamic_shapes=shapes, strict=strict).module()
    torch.testing.assert_close(exported(*other_inputs), module(*other_inputs), atol=1e-12, rtol=0)


class FirstResult(nn.Module):
    """Take positional arguments and return the first result alone."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, *inputs):
        results = self.module(*inputs)
        return results if isinstance(results, torch.Tensor) else results[0]


class Projection(nn.Module):
    def forward(self, scores, mask):
        return sparsemax(scores, mask)


@pytest.mark.parametrize("strict", [False, True])
def test_sparsemax_exports(strict):
    inputs = normal(3, 6), mask_of(6, 3, 0, size=6)
    others = normal(4, 6, seed=1), mask_of(0, 1, 5, 6, size=6)
    assert_exports(Projection(), inputs, others, strict)


@pytest.mark.parametrize("normalizer", ["softmax", "sparsemax"])
def test_attention_exports(normalizer):
    inputs = normal(3, 5, 12), normal(3, 7, 12, seed=1), mask_of(7, 3, 0, size=7)
    others = normal(4, 5, 12, seed=2), normal(4, 7, 12, seed=3), mask_of(0, 1, 5, 7, size=7)
    assert_exports(MultiHeadAttention(12, 3, normalizer), inputs, others)


def test_fusion_exports():
    def build_inputs(*lengths):
        n = len(lengths)
        masks = mask_of(*lengths, size=5), mask_of(*lengths, size=7)
        return normal(n, 5, 12), normal(n, 7, 12, seed=1), *masks

    fusion = TextGuidedFusion(2, 12, 3, 20, 0.1)
    assert_exports(fusion, build_inputs(5, 2, 1), build_inputs(1, 4, 0, 3))


def test_reduction_exports():
    inputs = normal(3, 5, 12), mask_of(5, 2, 1, size=5)
    others = normal(4, 5, 12, seed=1), mask_of(0, 1, 5, 4, size=5)
    assert_exports(ReductionUnit(12, 0.1), inputs, others)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_sparsemax_compiles_in_one_piece_with_the_same_gradient(backend, monkeypatch):
    monkeypatch.setattr(sys.modules["mvcn.nn.sparsemax"], "WORTH_COMPILING", 1)
    compiled = torch.compile(sparsemax, backend=backend, fullgraph=True)
    scores, direction = normal(4, 7).requires_grad_(), normal(4, 7, seed=1)
    mask = mask_of(7, 4, 1, 0, size=7)
    expected, actual = sparsemax(scores, mask), compiled(scores, mask)
    torch.testing.assert_close(actual, expected, atol=1e-12, rtol=0)
    (expected_gradient,) = torch.autograd.grad(expected, scores, direction)
    (gradient,) = torch.autograd.grad(actual, scores, direction)
    torch.testing.assert_close(gradient, expected_gradient, atol=1e-12, rtol=0)
