"""Dropout whose random numbers do not hold up a training on the CPU."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

LEVELS = 2**16
"""Values of the 16 random bits that decide about one number."""
NUMBERS_PER_DRAW = 4
"""One draw of the generator has 64 bits."""


class Dropout(nn.Dropout):
    """Zero each number with probability p in training, and scale what is left by 1 / (1 - p).

    On the CPU p is rounded to the nearest of 65,536 steps, and the scale is that of the rounded p,
    so that the mean is kept exactly.

    Source:
        Srivastava et al., JMLR 2014.  Deviation: PyTorch draws one random number for each number
        of the input on a CPU; here one draw decides about four, from the same generator.
    """

    def forward(self, input: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the input with some numbers zeroed; in evaluation as it is."""
        if not self.training or self.p == 0:
            return input
        is_plain = input.device.type == "cpu" and not torch.compiler.is_compiling()
        if self.p == 1 or not is_plain:
            return F.dropout(input, self.p)
        dropped = round(self.p * LEVELS)
        kept = _sixteen_bits(input.shape) >= dropped - LEVELS // 2
        return input * kept.to(input.dtype).mul_(LEVELS / (LEVELS - dropped))


def replace_dropout(module: nn.Module) -> None:
    """Let a module made elsewhere drop by `Dropout` wherever it has torch's own."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Dropout:
                setattr(parent, name, Dropout(child.p))


def _sixteen_bits(shape: torch.Size) -> Int[Tensor, "*shape"]:
    """Return whole numbers drawn evenly from -32768 to 32767."""
    draws = torch.empty(-(-shape.numel() // NUMBERS_PER_DRAW), dtype=torch.int64)
    draws.random_(torch.iinfo(torch.int64).min, None)
    return draws.view(torch.int16)[: shape.numel()].view(shape)
