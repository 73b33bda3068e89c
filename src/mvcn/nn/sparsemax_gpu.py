"""Sparsemax on a GPU: one kernel for the weights and one for the gradient, in Triton.

A row is read once, projected in registers, and written once, as by softmax.
"""

from contextlib import nullcontext
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

WIDEST = 4096
"""Scores of the longest row that is held in registers."""
SCORES_PER_WARP = 1024


def project_rows(scores: Tensor) -> Tensor:
    """Return the sparsemax of each row, with rows as for `mvcn.nn.sparsemax`.

    Args:
        scores: float32 or float64, of at most `WIDEST` scores a row.
    """
    return _for_each_row(_project, scores)


def center_rows(weights: Tensor, gradient: Tensor) -> Tensor:
    """Return the gradient of the scores of each row.

    Args:
        weights: What `project_rows` returned.
        gradient: Of these weights.
    """
    return _for_each_row(_center, weights, gradient)


def _for_each_row(kernel: Any, *tensors: Tensor) -> Tensor:
    """Run a kernel on tensors, converted to the dtype of the first, and return its result."""
    inputs = [tensor.to(tensors[0].dtype).contiguous() for tensor in tensors]
    result = torch.empty_like(inputs[0])
    width = result.shape[-1]
    block = triton.next_power_of_2(width)
    warps = max(1, block // SCORES_PER_WARP)
    with torch.cuda.device(result.device) if result.is_cuda else nullcontext():
        kernel[(result.numel() // width,)](*inputs, result, width, block=block, num_warps=warps)
    return result


@triton.jit  # type: ignore[untyped-decorator]
def _project(scores, weights, width, block: tl.constexpr):  # type: ignore[no-untyped-def]
    """Project a row by active sets, as `_project_by_active_sets` of `mvcn.nn.sparsemax` does."""
    place = tl.arange(0, block)
    start = tl.program_id(0).to(tl.int64) * width
    row = tl.load(scores + start + place, mask=place < width, other=float("-inf"))
    limit: tl.constexpr = (
        1.7976931348623157e308 if row.dtype == tl.float64 else 3.4028234663852886e38
    )
    highest = tl.minimum(tl.maximum(tl.max(row), -limit), limit)
    shifted = tl.minimum(tl.maximum(row - highest, -1.0), 0.0)
    threshold = tl.min(shifted) * 0 - 1
    size = tl.sum((shifted > threshold).to(tl.int32))
    previous = size + 1
    while size != previous:
        needed = (tl.sum(tl.where(shifted > threshold, shifted, 0.0)) - 1) / tl.maximum(size, 1)
        threshold = tl.maximum(threshold, needed)
        previous = size
        size = tl.sum((shifted > threshold).to(tl.int32))
    projected = tl.maximum(shifted - threshold, 0.0)
    is_number = tl.sum(tl.where(row <= float("inf"), 0, 1)) == 0
    tl.store(
        weights + start + place,
        tl.where(is_number, projected, float("nan")),
        mask=place < width,
    )


@triton.jit  # type: ignore[untyped-decorator]
def _center(weights, gradient, result, width, block: tl.constexpr):  # type: ignore[no-untyped-def]
    """Subtract the mean over the support of a row from the gradient there; elsewhere it is 0."""
    place = tl.arange(0, block)
    start = tl.program_id(0).to(tl.int64) * width
    row = tl.load(weights + start + place, mask=place < width, other=0.0)
    given = tl.load(gradient + start + place, mask=place < width, other=0.0)
    support = row > 0
    size = tl.sum(support.to(tl.int32))
    mean = tl.sum(tl.where(support, given, 0.0)) / tl.maximum(size, 1)
    centered = tl.where(support, given - mean, 0.0)
    tl.store(result + start + place, tl.where(size == 0, row, centered), mask=place < width)
