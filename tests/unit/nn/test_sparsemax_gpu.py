"""The kernels of a GPU on a machine without one: run by Triton's interpreter, and compiled."""

import math
import os
import subprocess
import sys
from importlib import import_module

import pytest
import torch

from mvcn.nn.sparsemax import _center_by_torch, _project_by_sorting, gpu_kernels

triton = pytest.importorskip("triton", reason="Triton is not installed: it comes with CUDA builds")
NAME = "mvcn.nn.sparsemax_gpu"
WIDTHS = (1, 2, 5, 49, 197, 256, 1500)
TOLERANCES = {torch.float32: 1e-6, torch.float64: 1e-14}
ARCHITECTURES = (75, 80, 90, 100)


def rows(width, dtype):
    """Random ones, with an infinity, a masked row, a NaN, one score left, and all alike."""
    scores = torch.randn(7, width, generator=torch.Generator().manual_seed(0), dtype=dtype) * 3
    scores[1, 0], scores[2], scores[3, 0] = math.inf, -math.inf, math.nan
    scores[4, 1:], scores[5] = -math.inf, 0
    return scores


def compare_with_torch():
    """Compare weights and gradients; for a process in which Triton interprets its kernels."""
    kernels = import_module(NAME)
    for dtype, tolerance in TOLERANCES.items():
        close = {"atol": tolerance, "rtol": 0, "equal_nan": True}
        for width in WIDTHS:
            scores = rows(width, dtype)
            gradient = torch.randn_like(scores)
            weights = kernels.project_rows(scores)
            torch.testing.assert_close(weights, _project_by_sorting(scores), **close)
            expected = _center_by_torch(weights, gradient)
            torch.testing.assert_close(kernels.center_rows(weights, gradient), expected, **close)
    across = rows(7, torch.float32)[[0, 5, 6]].T.contiguous().T
    assert not across.is_contiguous()
    torch.testing.assert_close(kernels.project_rows(across), _project_by_sorting(across))


def compile_for_gpus():
    """Compile both kernels; for a process in which nothing else wraps them."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernels = import_module(NAME)
    for kernel, tensors in {kernels._project: 2, kernels._center: 3}.items():
        kinds = {**dict.fromkeys(kernel.arg_names[:tensors], "*fp32"), "width": "i32"}
        for block in (64, 256, 4096):
            source = ASTSource(kernel, {**kinds, "block": "constexpr"}, {"block": block})
            for architecture in ARCHITECTURES:
                compiled = triton.compile(source, target=GPUTarget("cuda", architecture, 32))
                assert compiled.asm["cubin"]


@pytest.mark.parametrize(
    ("check", "settings"),
    [("compare_with_torch", {"TRITON_INTERPRET": "1"}), ("compile_for_gpus", {})],
)
def test_give_the_numbers_of_torch_and_compile(check, settings):
    code = f"from tests.unit.nn import test_sparsemax_gpu as own; own.{check}()"
    subprocess.run([sys.executable, "-c", code], env={**os.environ, **settings}, check=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_are_not_used_without_a_gpu(caplog):
    assert gpu_kernels.__wrapped__() is None
    assert "cannot compile sparsemax" in caplog.text
