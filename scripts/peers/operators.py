"""Operators of torchvision, declared where its build does not fit that of PyTorch.

Package indexes have one build of torchvision, for CUDA. Next to PyTorch for the CPU it lacks its
operators, and without them neither it nor what imports it can be imported. No tool calls them.
"""

from importlib.util import find_spec
from pathlib import Path

DIFFERENTIABLE = ("roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", "deform_conv2d")
OPERATORS = (
    *("nms", "qnms", "qroi_align", *DIFFERENTIABLE),
    *(f"_{name}_backward" for name in DIFFERENTIABLE),
)
declared = []
"""Libraries of operators, which exist as long as they are in this list."""


def declare() -> None:
    """Declare the operators if torchvision is installed and its own ones cannot be loaded."""
    package = find_spec("torchvision")
    if package is None:
        return
    import torch

    try:
        torch.ops.load_library(str(Path(str(package.origin)).with_name("_C.so")))
    except OSError:
        declared.append(torch.library.Library("torchvision", "FRAGMENT"))
        for name in OPERATORS:
            declared[-1].define(f"{name}(Tensor a) -> Tensor")
