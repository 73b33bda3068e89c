"""Sparsemax: attention weights with exact zeros.

On a CPU, large tensors are computed by the C code in ``sparsemax.c``, which each process compiles
at first use, and on a GPU all are by the kernels of `mvcn.nn.sparsemax_gpu`; without a compiler,
torch computes the same.
"""

import ctypes
import logging
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mvcn.nn.compiling import load_library

LOG = logging.getLogger(__name__)

# Scores processed at a time on a CPU: 1 MiB of float32, which fits into the cache.
CHUNK = 2**18
# Scores per call above which C code pays off: about half of a training step's attention weights.
WORTH_COMPILING = 2**16
SOURCE = Path(__file__).with_name("sparsemax.c")
TYPES = {torch.float32: ("float", "int32_t"), torch.float64: ("double", "int64_t")}
"""In C, with the integer of the same width."""
BLOCK_BYTES, BLOCK_ROOM = 32, 4
"""Of the rows that C code holds side by side: bytes of all their scores at one position, and how
many positions more than a row has."""


def sparsemax(
    scores: Float[Tensor, "*shape"], mask: Bool[Tensor, "..."] | None = None
) -> Float[Tensor, "*shape"]:
    r"""Return the probability vector that is nearest to each row of scores.

    .. math::
        \mathrm{sparsemax}(s) = \arg\min_{p \in \Delta} \lVert p - s \rVert^2
                              = \max(s - \tau(s), 0)

    with the unique threshold tau for which the row sums to 1. Unlike softmax, low scores get
    exactly 0. Rows lie along the last axis; a scalar is a row of one score.

    The result is float32 (float64 for float64 scores), also under autocast: in bfloat16 a row sum
    would be off by 1e-2. A fully masked row gives zeros and passes no gradient. Scores of +inf
    share all the weight; a NaN makes its row NaN, also in a gradient.

    It is a torch operator, ``torch.ops.mvcn.sparsemax``, which can be compiled, traced and used
    under `torch.func.vmap`. `torch.export` replaces it by torch's own operations.

    Args:
        scores: Any real numbers; -inf counts as masked.
        mask: True where a score may be attended; broadcast against `scores`.

    Source:
        Martins & Astudillo, ICML 2016, Algorithm 1 (forward) and the Jacobian (backward).
        Deviation: the threshold is found without sorting, by the active-set steps of Michelot, J.
        Optim. Theory Appl. 1986, which are exact, too; for large tensors in C, on a GPU in Triton.
    """
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if scores.dim() == 0:
        return sparsemax(scores.unsqueeze(0), mask).squeeze(0)
    return _Sparsemax.apply(scores, mask)  # type: ignore[no-any-return, no-untyped-call]


class _Sparsemax(torch.autograd.Function):
    """The operator for `torch.func`, which ignores gradients registered by `torch.library`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(scores: Tensor, mask: Tensor | None) -> Tensor:
        if _is_written_out(scores):
            return _project_by_sorting(_masked(scores, mask))
        weights: Tensor = torch.ops.mvcn.sparsemax(scores, mask)
        return weights

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor | None], output: Tensor) -> None:
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (weights,) = ctx.saved_tensors
        # Only torch's own operations have second derivatives.
        if torch.is_grad_enabled() or _is_written_out(weights):
            return _center_by_torch(weights, gradient), None
        return torch.ops.mvcn.sparsemax_backward(weights, gradient), None


def _is_written_out(scores: Tensor) -> bool:
    """Return whether torch's own operations are needed (export) or faster (where none is ours)."""
    is_fused = torch.compiler.is_compiling() and scores.device.type not in {"cpu", "cuda"}
    return torch.compiler.is_exporting() or is_fused


def _project(scores: Tensor, mask: Tensor | None) -> Tensor:
    scores = _masked(scores, mask)
    if scores.numel() == 0:
        return scores.new_empty(scores.shape)
    if (kernels := _kernels_for(scores)) is not None:
        return kernels.project_rows(scores)  # type: ignore[no-any-return]
    if scores.device.type != "cpu":  # a data-dependent loop would synchronise the device
        return _project_by_sorting(scores).contiguous()
    library = _worthwhile_library(scores)
    if library is None:
        return _project_in_chunks(scores)
    return project_rows(library, scores)


def _center(weights: Tensor, gradient: Tensor) -> Tensor:
    if weights.numel() and (kernels := _kernels_for(weights)) is not None:
        return kernels.center_rows(weights, gradient)  # type: ignore[no-any-return]
    library = _worthwhile_library(weights)
    if library is None:
        return _center_by_torch(weights, gradient).contiguous()
    return for_each_row(library.center_rows, weights, gradient)


def _kernels_for(tensor: Tensor) -> Any:
    """Return the kernels that hold a row of a tensor on a GPU, None if there are none."""
    kernels = gpu_kernels() if tensor.is_cuda else None
    return None if kernels is None or tensor.shape[-1] > kernels.WIDEST else kernels


@cache
def gpu_kernels() -> Any:
    """Return `mvcn.nn.sparsemax_gpu`, None if Triton is missing or cannot compile for the GPU."""
    if find_spec("triton") is None:
        return None
    try:
        from mvcn.nn import sparsemax_gpu

        sparsemax_gpu.project_rows(torch.zeros(1, 2, device="cuda"))
    except Exception as error:  # Triton raises almost any type
        LOG.warning(
            "Triton cannot compile sparsemax for this GPU (%s), so a slower PyTorch version is "
            "used.",
            str(error).partition("\n")[0],
        )
        return None
    return sparsemax_gpu


def _worthwhile_library(tensor: Tensor) -> ctypes.CDLL | None:
    is_large = tensor.device.type == "cpu" and tensor.numel() >= WORTH_COMPILING
    return row_library(tensor.dtype) if is_large else None


@cache
def row_library(dtype: torch.dtype) -> ctypes.CDLL | None:
    """Compile and load ``sparsemax.c`` for a dtype; return None if that fails."""
    if dtype not in TYPES:
        return None
    real, whole = TYPES[dtype]
    return load_library(SOURCE, f"-Dreal={real}", f"-Dwhole={whole}")


def project_rows(library: ctypes.CDLL, scores: Tensor) -> Tensor:
    """Return the sparsemax of each row by C code."""
    positions = scores.shape[-1] + BLOCK_ROOM
    blocks = torch.empty(torch.get_num_threads(), positions, BLOCK_BYTES, dtype=torch.uint8)
    return for_each_row(library.project_rows, scores, workspace=[blocks])


def for_each_row(function: Any, *tensors: Tensor, workspace: Sequence[Tensor] = ()) -> Tensor:
    """Call a C function on tensors, converted to the dtype of the first, and return its result."""
    inputs = [tensor.to(tensors[0].dtype).contiguous() for tensor in tensors]
    result = torch.empty_like(inputs[0])
    width = result.shape[-1]
    sizes = [ctypes.c_int64(size) for size in (result.numel() // width, width)]
    pointers = [ctypes.c_void_p(tensor.data_ptr()) for tensor in (*inputs, result, *workspace)]
    function(torch.get_num_threads(), *sizes, *pointers)
    return result


def _center_by_torch(weights: Tensor, gradient: Tensor) -> Tensor:
    """Subtract the mean over each row's support from the gradient there; elsewhere it is 0.

    A row without support returns its weights: zeros of a masked row, or NaN.
    """
    support = weights.sign()
    on_support = support * gradient
    size = support.sum(-1, keepdim=True)
    mean = on_support.sum(-1, keepdim=True) / size.clamp(min=1)
    centered = torch.addcmul(on_support, mean, support, value=-1)
    return torch.where(size == 0, weights, centered)


def _masked(scores: Tensor, mask: Tensor | None) -> Tensor:
    return scores if mask is None else scores.masked_fill(~mask, -torch.inf)


def _below_maximum(scores: Tensor) -> Tensor:
    """Shift each row's maximum to 0 and clamp at -1, below which no score gets weight.

    An infinite maximum is replaced by the largest finite number: the difference of two infinities
    would be NaN.
    """
    limit = torch.finfo(scores.dtype).max
    return (scores - scores.amax(-1, keepdim=True).clamp(-limit, limit)).clamp_(-1, 0)


def _project_by_sorting(scores: Tensor) -> Tensor:
    """Project by the threshold of the largest support that is consistent with it."""
    shifted = _below_maximum(scores)
    ordered = shifted.sort(-1, descending=True).values
    excess = ordered.cumsum(-1) - 1
    sizes = torch.arange(1, shifted.shape[-1] + 1, device=shifted.device, dtype=shifted.dtype)
    size = (sizes * ordered > excess).sum(-1, keepdim=True).clamp(min=1)
    threshold = excess.gather(-1, size - 1) / size
    return (shifted - threshold.clamp(min=-1)).clamp_(min=0)


def _project_in_chunks(scores: Tensor) -> Tensor:
    rows = scores.reshape(-1, scores.shape[-1])
    weights = rows.new_empty(rows.shape)
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


def _like_projected(scores: Tensor, mask: Tensor | None) -> Tensor:
    return scores.new_empty((scores if mask is None else scores + mask).shape)


def _like_centered(weights: Tensor, gradient: Tensor) -> Tensor:
    return weights.new_empty(weights.shape)


def _map_projection(
    _: Any, batch_dims: tuple[int | None, ...], scores: Tensor, mask: Tensor | None
) -> tuple[Tensor, int]:
    if mask is None:
        (scores,) = _with_batch_first([scores], batch_dims)
    else:
        scores, mask = _with_batch_first([scores, mask], batch_dims)
    return torch.ops.mvcn.sparsemax(scores, mask), 0


def _map_centering(
    _: Any, batch_dims: tuple[int | None, ...], weights: Tensor, gradient: Tensor
) -> tuple[Tensor, int]:
    both = _with_batch_first([weights, gradient], batch_dims)
    return torch.ops.mvcn.sparsemax_backward(*torch.broadcast_tensors(*both)), 0  # type: ignore[no-untyped-call]


def _with_batch_first(tensors: Sequence[Tensor], batch_dims: Sequence[int | None]) -> list[Tensor]:
    """Return broadcastable tensors with the mapped axis in front."""
    pairs = list(zip(tensors, batch_dims, strict=False))
    rank = max(tensor.dim() + (dim is None) for tensor, dim in pairs)
    return [tensor if dim is None else _in_front(tensor, dim, rank) for tensor, dim in pairs]


def _in_front(tensor: Tensor, dim: int, rank: int) -> Tensor:
    moved = tensor.movedim(dim, 0)
    return moved[(slice(None), *[None] * (rank - moved.dim()))]


# Registered piece by piece, as torch.library.custom_op adds overhead to each call.
_OPERATORS = {
    "sparsemax(Tensor scores, Tensor? mask)": (_project, _like_projected, _map_projection),
    "sparsemax_backward(Tensor weights, Tensor gradient)": (
        _center,
        _like_centered,
        _map_centering,
    ),
}
_LIBRARY: Any = torch.library.Library("mvcn", "FRAGMENT")  # type: ignore[no-untyped-call]
for _schema, (_compute, _without_numbers, _map) in _OPERATORS.items():
    _name = _schema.partition("(")[0]
    _LIBRARY.define(f"{_schema} -> Tensor", tags=torch.Tag.pt2_compliant_tag)
    _LIBRARY.impl(_name, _compute, "CompositeExplicitAutograd")
    torch.library.register_fake(f"mvcn::{_name}", _without_numbers, lib=_LIBRARY)
    torch.library.register_vmap(f"mvcn::{_name}", _map, lib=_LIBRARY)
torch.library.register_autograd(
    "mvcn::sparsemax", _Sparsemax.backward, setup_context=_Sparsemax.setup_context, lib=_LIBRARY
)
