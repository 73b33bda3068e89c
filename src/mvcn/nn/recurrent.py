"""An LSTM over rows of tokens of different lengths, some of which are empty."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


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
