"""Our sparsemax against the entmax package."""

import sys

import entmax
import pytest
import torch

from mvcn.nn.sparsemax import row_library, sparsemax


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize("shape", [(50, 197), (8, 6, 40, 49), (200, 2)])
@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("way", ["torch", "C"])
def test_agrees_with_entmax(monkeypatch, dtype, tolerance, shape, scale, way):
    if way == "C" and row_library(dtype) is None:
        pytest.skip("there is no C compiler")
    least = {"torch": 1 << 60, "C": 1}[way]
    monkeypatch.setattr(sys.modules["mvcn.nn.sparsemax"], "WORTH_COMPILING", least)
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(shape, generator=generator, dtype=dtype) * scale
    direction = torch.randn(shape, generator=generator, dtype=dtype)
    ours, theirs = scores.clone().requires_grad_(), scores.clone().requires_grad_()
    actual, expected = sparsemax(ours), entmax.sparsemax(theirs, dim=-1)
    torch.testing.assert_close(actual, expected, atol=tolerance, rtol=0)
    actual.backward(direction)
    expected.backward(direction)
    torch.testing.assert_close(ours.grad, theirs.grad, atol=tolerance, rtol=0)


def test_agrees_with_entmax_on_scores_masked_by_infinity():
    scores = torch.randn(50, 30, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mask = torch.arange(30) < torch.arange(1, 51).unsqueeze(1)
    expected = entmax.sparsemax(scores.masked_fill(~mask, -torch.inf), dim=-1)
    torch.testing.assert_close(sparsemax(scores, mask), expected, atol=1e-12, rtol=0)
