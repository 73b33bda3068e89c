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
_CONGRUITY = (_INTEGER, *[_INTEGER] * 5, *[_DOUBLE] * 2, *[_ADDRESS] * 8)
CONGRUITY = {torch.float32: "congruity_of_float", torch.float64: "congruity_of_double"}
"""Type of the features of a batch -> name of the function that takes them."""
TYPES: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(CONGRUITY.values(), _CONGRUITY),
    "exchange": (None, *[_INTEGER] * 5, *[_ADDRESS] * 11),
}


def library(device: torch.device) -> ctypes.CDLL | None:
    """Return the functions of `TYPES` for tensors on a device; None if torch has to compute."""
    if device.type != "cpu" or torch.compiler.is_compiling():
        return None
    return _load()


def addresses(*tensors: Tensor) -> list[int]:
    """Return where the numbers of contiguous tensors lie."""
    return [tensor.data_ptr() for tensor in tensors]


@cache
def _load() -> ctypes.CDLL | None:
    code = load_library(SOURCE)
    for name, (result, *arguments) in TYPES.items() if code is not None else ():
        function = getattr(code, name)
        function.argtypes, function.restype = arguments, result
    return code
