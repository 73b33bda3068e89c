"""C code for the rows of a tensor, compiled in a process that needs it, where a compiler is.

Compiling takes about a quarter of a second and leaves nothing behind: the library lies in a folder
of the process alone, and is deleted as soon as it is loaded. So no other user can slip one in, none
is left from another processor or version, and no two processes wait for each other.
"""

import ctypes
import shutil
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

SOURCE = Path(__file__).with_name("sparsemax.c")
TYPES = {torch.float32: "float", torch.float64: "double"}
# Sums may be taken in any order, which is what lets a compiler use the processor's vectors.
VECTORS = ("-march=native", "-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math")
FLAGS = ("-std=c11", "-O3", *VECTORS, "-fopenmp", "-shared", "-fPIC", "-w")
MOST_SECONDS = 60
# Numbers in one call from which it pays: about half of a training step's attention weights.
WORTH_COMPILING = 2**16


class RowKernels:
    """The functions of ``sparsemax.c`` for tensors of one dtype, on the CPU."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def project(self, scores: Float[Tensor, "*rows n"]) -> Float[Tensor, "*rows n"]:
        """Return sparsemax of each row."""
        return _for_each_row(self._library.project_rows, scores)

    def center(
        self, weights: Float[Tensor, "*rows n"], gradient: Float[Tensor, "*rows n"]
    ) -> Float[Tensor, "*rows n"]:
        """Return the gradient of the scores, from the weights and their gradient."""
        return _for_each_row(self._library.center_rows, weights, gradient)


def worthwhile_kernels(tensor: Float[Tensor, "*rows n"]) -> RowKernels | None:
    """Return what computes rows faster than torch does, if anything."""
    is_large = tensor.device.type == "cpu" and tensor.numel() >= WORTH_COMPILING
    return row_kernels(tensor.dtype) if is_large else None


@cache
def row_kernels(dtype: torch.dtype) -> RowKernels | None:
    """Compile and load the functions for a dtype; None where that cannot be done."""
    compiler = shutil.which("cc")
    if compiler is None or dtype not in TYPES:
        return None
    try:
        with TemporaryDirectory(prefix="mvcn-", ignore_cleanup_errors=True) as folder:
            library = Path(folder) / "rows.so"
            command = [compiler, *FLAGS, f"-Dreal={TYPES[dtype]}", str(SOURCE), "-o", str(library)]
            subprocess.run(
                command,
                check=True,
                timeout=MOST_SECONDS,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            return RowKernels(ctypes.CDLL(str(library)))
    except (OSError, subprocess.SubprocessError):
        return None


def _for_each_row(function: Any, *tensors: Tensor) -> Tensor:
    """Call a C function with the tensors, in the type of the first, and one for its result."""
    inputs = [tensor.to(tensors[0].dtype).contiguous() for tensor in tensors]
    result = torch.empty_like(inputs[0])
    width = result.shape[-1]
    sizes = [ctypes.c_int64(size) for size in (result.numel() // width, width)]
    pointers = [ctypes.c_void_p(tensor.data_ptr()) for tensor in (*inputs, result)]
    function(torch.get_num_threads(), *sizes, *pointers)
    return result
