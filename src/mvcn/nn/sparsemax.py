"""Sparsemax: attention weights with exact zeros."""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mvcn.nn.compiled import worthwhile_kernels

# Scores worked on at a time on a CPU: 1 MiB of float32, so that the passes stay in the cache.
CHUNK = 2**18


def sparsemax(
    scores: Float[Tensor, "*rows n"], mask: Bool[Tensor, "..."] | None = None
) -> Float[Tensor, "*rows n"]:
    r"""Return the probability vector that is nearest to each row of scores.

    .. math::
        \mathrm{sparsemax}(s) = \arg\min_{p \in \Delta} \lVert p - s \rVert^2
                              = \max(s - \tau(s), 0)

    with the one threshold tau that makes the row sum 1. Unlike softmax, low scores get exactly 0.

    The result is float32 (float64 for float64 scores), whatever the autocast state: in bfloat16 a
    row sum would be off by 1e-2. A row of which nothing may be attended gives zeros and passes no
    gradient. A score of +inf takes all the weight, shared among equals; NaN makes its row NaN.

    Args:
        scores: Any real numbers; -inf counts as masked.
        mask: True where a score may be attended; broadcast against `scores`.

    Source:
        Martins & Astudillo, ICML 2016, Algorithm 1 (forward) and the Jacobian (backward).
        Deviation: on a CPU the threshold is found without sorting, by the active-set steps of
        Michelot, J. Optim. Theory Appl. 1986, which are exact too. Where there is a compiler, C
        code takes them for large tensors (`mvcn.nn.compiled`).
    """
    return _Sparsemax.apply(scores.to(torch.promote_types(scores.dtype, torch.float32)), mask)  # type: ignore[no-any-return, no-untyped-call]


class _Sparsemax(torch.autograd.Function):
    @staticmethod
    def forward(scores: Tensor, mask: Tensor | None) -> Tensor:
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        # Data-dependent loops cannot be traced, and would make a GPU wait for the CPU.
        if scores.device.type != "cpu" or torch.compiler.is_compiling():
            return _project_by_sorting(scores)
        kernels = worthwhile_kernels(scores)
        return _project_in_chunks(scores) if kernels is None else kernels.project(scores)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor | None], output: Tensor) -> None:
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (weights,) = ctx.saved_tensors
        # Only torch's own operations can be differentiated once more.
        kernels = None if torch.is_grad_enabled() else worthwhile_kernels(weights)
        if kernels is not None:
            return kernels.center(weights, gradient), None
        support = weights.sign()
        on_support = gradient * support
        size = support.sum(-1, keepdim=True).clamp_(min=1)
        mean = on_support.sum(-1, keepdim=True) / size
        return torch.addcmul(on_support, mean, support, value=-1), None


def _below_maximum(scores: Tensor) -> Tensor:
    """Shift each row's maximum to 0 and cut at -1, below which no score gets weight.

    An infinite maximum is replaced by the largest finite number: the difference of two infinities
    would be NaN.
    """
    limit = torch.finfo(scores.dtype).max
    return (scores - scores.amax(-1, keepdim=True).clamp(-limit, limit)).clamp_(-1, 0)


def _project_by_sorting(scores: Tensor) -> Tensor:
    """Take the threshold of the largest support that agrees with its own threshold."""
    shifted = _below_maximum(scores)
    ordered = shifted.sort(-1, descending=True).values
    excess = ordered.cumsum(-1) - 1
    sizes = torch.arange(1, shifted.shape[-1] + 1, device=shifted.device, dtype=shifted.dtype)
    size = (sizes * ordered > excess).sum(-1, keepdim=True).clamp(min=1)
    threshold = excess.gather(-1, size - 1) / size
    return (shifted - threshold.clamp(min=-1)).clamp_(min=0)


def _project_in_chunks(scores: Tensor) -> Tensor:
    rows = scores.reshape(-1, scores.shape[-1])
    weights = torch.empty_like(rows)
    step = max(1, CHUNK // rows.shape[1])
    for start in range(0, len(rows), step):
        _project_by_active_sets(rows[start : start + step], weights[start : start + step])
    return weights.view(scores.shape)


def _project_by_active_sets(scores: Tensor, out: Tensor) -> None:
    """Write the projection of each row to `out`.

    Take as support all scores above the threshold, compute the threshold that this support needs,
    and repeat until no row's support shrinks. The threshold starts below the true one and never
    falls, so a support only loses members and the loop ends after at most as many steps as there
    are scores in a row; it is 5 to 8 in practice.
    """
    shifted = _below_maximum(scores)
    threshold = torch.full_like(shifted[:, :1], -1)
    previous = torch.full_like(threshold, torch.inf)
    while True:
        size = torch.gt(shifted, threshold, out=out).sum(-1, keepdim=True)
        if torch.equal(size, previous):
            break
        needed = out.mul_(shifted).sum(-1, keepdim=True).sub_(1).div_(size.clamp(min=1))
        threshold, previous = torch.maximum(threshold, needed), size
    torch.sub(shifted, threshold, out=out).relu_()
