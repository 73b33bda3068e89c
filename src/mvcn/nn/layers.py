"""Layers of PyTorch, adapted: dropout that is fast on a CPU, and an LSTM over padded tokens."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

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


class MaskedLstm(nn.Module):
    """PyTorch's LSTM over the real tokens, which are the first of each row.

    Args:
        dim: Width of the tokens.
        hidden_dim: Width of the states of one direction.
        num_layers: Stacked layers.
        bidirectional: Read from both ends; states are then twice as wide.
        dropout: Between the layers.
    """

    def __init__(
        self,
        dim: int,
        hidden_dim: int,
        *,
        num_layers: int = 1,
        bidirectional: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.output_dim = hidden_dim * (1 + bidirectional)
        self.lstm = nn.LSTM(
            dim,
            hidden_dim,
            num_layers,
            batch_first=True,
            bidirectional=bidirectional,
            dropout=dropout if num_layers > 1 else 0.0,
        )

    def forward(
        self,
        tokens: Float[Tensor, "batch token dim"],
        mask: Bool[Tensor, "batch token"],
        initial: tuple[Tensor, Tensor] | None = None,
    ) -> Float[Tensor, "batch token state"]:
        """Return the states; zeros for padding.

        Args:
            tokens: Rows that begin with their real tokens.
            mask: Which tokens are real.
            initial: First hidden and cell state, ``(layers x directions, batch, hidden_dim)``.
        """
        # A row without tokens is read as one zero, whose state is then left out.
        lengths = mask.sum(1).clamp(min=1).cpu()
        shown = tokens.masked_fill(~mask.unsqueeze(-1), 0)
        packed = pack_padded_sequence(shown, lengths, batch_first=True, enforce_sorted=False)
        output, _ = self.lstm(packed, initial)
        states, _ = pad_packed_sequence(output, batch_first=True, total_length=tokens.shape[1])
        return torch.where(mask.unsqueeze(-1), states, 0)


def _sixteen_bits(shape: torch.Size) -> Int[Tensor, "*shape"]:
    """Return whole numbers drawn evenly from -32768 to 32767."""
    draws = torch.empty(-(-shape.numel() // NUMBERS_PER_DRAW), dtype=torch.int64)
    draws.random_(torch.iinfo(torch.int64).min, None)
    return draws.view(torch.int16)[: shape.numel()].view(shape)
