"""Adapted layers of PyTorch: dropout that is fast on a CPU, and an LSTM over padded tokens."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

LEVELS = 2**16
"""Number of values of the 16 random bits that decide about one element."""
NUMBERS_PER_DRAW = 4
"""Elements per draw of the generator, which has 64 bits."""


class Dropout(nn.Dropout):
    """Zero each element with probability p in training, and scale the others by 1 / (1 - p).

    On the CPU p is rounded to a multiple of 1 / 65,536, and the scale uses the rounded p, so that
    the mean is preserved exactly.

    Source:
        Srivastava et al., JMLR 2014.  Deviation: on a CPU PyTorch draws one random number per
        element; here one draw of the same generator decides about four.
    """

    def forward(self, input: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the input with elements dropped; unchanged in evaluation."""
        if not self.training or self.p == 0:
            return input
        is_plain = input.device.type == "cpu" and not torch.compiler.is_compiling()
        if self.p == 1 or not is_plain:
            return F.dropout(input, self.p)
        dropped = round(self.p * LEVELS)
        kept = _sixteen_bits(input.shape) >= dropped - LEVELS // 2
        return input * kept.to(input.dtype).mul_(LEVELS / (LEVELS - dropped))


def replace_dropout(module: nn.Module) -> None:
    """Replace all of torch's own dropout in a module by `Dropout`."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.Dropout:
                setattr(parent, name, Dropout(child.p))


class MaskedLstm(nn.Module):
    """An LSTM over the real tokens, which come first in each sequence.

    Args:
        dim: Width of the tokens.
        hidden_dim: Width of the states of one direction.
        num_layers: Number of stacked layers.
        bidirectional: Read in both directions; states are then twice as wide.
        dropout: Dropout probability between the layers.
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
            tokens: Sequences that begin with their real tokens.
            mask: Which tokens are real.
            initial: First hidden and cell state, ``(layers x directions, batch, hidden_dim)``.
        """
        # An empty sequence is read as a single zero, whose state is masked below.
        lengths = mask.sum(1).clamp(min=1).cpu()
        shown = tokens.masked_fill(~mask.unsqueeze(-1), 0)
        packed = pack_padded_sequence(shown, lengths, batch_first=True, enforce_sorted=False)
        output, _ = self.lstm(packed, initial)
        states, _ = pad_packed_sequence(output, batch_first=True, total_length=tokens.shape[1])
        return torch.where(mask.unsqueeze(-1), states, 0)


def _sixteen_bits(shape: torch.Size) -> Int[Tensor, "*shape"]:
    """Return integers drawn uniformly from -32768 to 32767."""
    draws = torch.empty(-(-shape.numel() // NUMBERS_PER_DRAW), dtype=torch.int64)
    draws.random_(torch.iinfo(torch.int64).min, None)
    return draws.view(torch.int16)[: shape.numel()].view(shape)
