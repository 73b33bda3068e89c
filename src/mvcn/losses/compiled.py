"""The C code of ``congruity.c``; where it cannot be compiled, torch computes the same."""

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mvcn.nn.compiling import load_library

SOURCE = Path(__file__).with_name("congruity.c")
_INTEGER, _DOUBLE, _ADDRESS = ctypes.c_int64, ctypes.c_double, ctypes.c_void_p
TYPES: dict[str, tuple[Any, ...]] = {
    "congruity": (_INTEGER, *[_INTEGER] * 5, *[_DOUBLE] * 2, *[_ADDRESS] * 8),
    "exchange": (None, *[_INTEGER] * 5, *[_ADDRESS] * 11),
}


def library(device: torch.device, dtype: torch.dtype = torch.float32) -> ctypes.CDLL | None:
    """Return the functions `congruity` and `exchange` for a device; None if torch has to compute.

    Args:
        device: Where the tensors are.
        dtype: Of the features that `congruity` takes: float32 or float64.
    """
    if device.type != "cpu" or torch.compiler.is_compiling():
        return None
    return _load(dtype)


def addresses(*tensors: Tensor) -> list[int]:
    """Return where the numbers of contiguous tensors lie."""
    return [tensor.data_ptr() for tensor in tensors]


@cache
def _load(dtype: torch.dtype) -> ctypes.CDLL | None:
    code = load_library(SOURCE, f"-Dreal={'double' if dtype == torch.float64 else 'float'}")
    for name, (result, *arguments) in TYPES.items() if code is not None else ():
        function = getattr(code, name)
        function.argtypes, function.restype = arguments, result
    return code
