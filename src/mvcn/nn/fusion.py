"""Text-guided fusion (TGF), in which text attends to the image, and equal fusion as baseline."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mvcn.errors import ConfigError
from mvcn.nn.attention import MultiHeadAttention, Normalizer


class TextGuidedUnit(nn.Module):
    r"""Self-attention over the text, attention from text to image, and a feed-forward layer.

    .. math::
        X &\leftarrow \mathrm{LN}(X + \mathrm{SelfAttention}(X, X, X)) \\
        X &\leftarrow \mathrm{LN}(X + \mathrm{SparseAttention}(X, V, V)) \\
        X &\leftarrow \mathrm{LN}(X + \mathrm{FFN}(X))

    with X the text tokens and V the image tokens.

    Args:
        dim: Width d of text and image tokens.
        num_heads: Attention heads.
        feedforward_dim: Width between the two layers of FFN.
        dropout: Dropout probability inside FFN and of each residual; attention weights have none.
        attention: Normaliser of the text-to-image attention; softmax is the ablation.

    Source:
        Wei et al., ACL 2023, text-guided unit.  Deviation: none known; the order of the steps
        and normalising after each sum follow Yu et al., CVPR 2019 (MCAN), whose names the paper
        uses.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        feedforward_dim: int,
        dropout: float,
        attention: Normalizer = "sparsemax",
    ) -> None:
        super().__init__()
        self.self_attention = MultiHeadAttention(dim, num_heads, "softmax")
        self.image_attention = MultiHeadAttention(dim, num_heads, attention)
        self.feedforward = _feedforward(dim, feedforward_dim, dropout)
        self.self_attention_norm = nn.LayerNorm(dim)
        self.image_attention_norm = nn.LayerNorm(dim)
        self.feedforward_norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        text: Float[Tensor, "batch token dim"],
        image: Float[Tensor, "batch patch dim"],
        text_mask: Bool[Tensor, "batch token"] | None = None,
        image_mask: Bool[Tensor, "batch patch"] | None = None,
        *,
        return_weights: bool = False,
    ) -> tuple[Float[Tensor, "batch token dim"], Float[Tensor, "batch head token patch"] | None]:
        """Return the text tokens, and their attention weights over the image if requested."""
        read, _ = self.self_attention(text, text, text_mask)
        text = self.self_attention_norm(text + self.dropout(read))
        seen, weights = self.image_attention(text, image, image_mask, return_weights=return_weights)
        text = self.image_attention_norm(text + self.dropout(seen))
        text = self.feedforward_norm(text + self.dropout(self.feedforward(text)))
        return text, weights


class TextGuidedFusion(nn.Module):
    """A stack of text-guided units, which all attend to the same image tokens.

    Args:
        num_units: Number of units L; at least 1.
        dim: Width d of text and image tokens.
        num_heads: Attention heads of each unit.
        feedforward_dim: Width between the two feed-forward layers of each unit.
        dropout: Dropout probability in each unit; attention weights have none.
        attention: Normaliser of the text-to-image attention; softmax is the ablation.

    Source:
        Wei et al., ACL 2023, text-guided fusion.
    """

    def __init__(
        self,
        num_units: int,
        dim: int,
        num_heads: int,
        feedforward_dim: int,
        dropout: float,
        attention: Normalizer = "sparsemax",
    ) -> None:
        super().__init__()
        _require_units(num_units)
        self.units = nn.ModuleList(
            TextGuidedUnit(dim, num_heads, feedforward_dim, dropout, attention)
            for _ in range(num_units)
        )

    def forward(
        self,
        text: Float[Tensor, "batch token dim"],
        image: Float[Tensor, "batch patch dim"],
        text_mask: Bool[Tensor, "batch token"] | None = None,
        image_mask: Bool[Tensor, "batch patch"] | None = None,
        *,
        return_weights: bool = False,
    ) -> tuple[
        Float[Tensor, "batch token dim"], tuple[Float[Tensor, "batch head token patch"], ...]
    ]:
        """Return the text tokens, and the attention weights of each unit if requested."""
        collected = []
        for unit in self.units:
            text, weights = unit(text, image, text_mask, image_mask, return_weights=return_weights)
            if weights is not None:
                collected.append(weights)
        return text, tuple(collected)


class EqualUnit(nn.Module):
    r"""Self-attention over all tokens, and a feed-forward layer.

    .. math::
        X &\leftarrow \mathrm{LN}(X + \mathrm{SelfAttention}(X, X, X)) \\
        X &\leftarrow \mathrm{LN}(X + \mathrm{FFN}(X))

    Args:
        dim: Width d of the tokens.
        num_heads: Attention heads.
        feedforward_dim: Width between the two layers of FFN.
        dropout: Dropout probability inside FFN and of each residual.
        attention_dropout: Dropout probability of attention weights.

    Source:
        Vaswani et al., NeurIPS 2017, section 3.1.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        feedforward_dim: int,
        dropout: float,
        attention_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.self_attention = MultiHeadAttention(
            dim, num_heads, "softmax", dropout=attention_dropout
        )
        self.feedforward = _feedforward(dim, feedforward_dim, dropout)
        self.self_attention_norm = nn.LayerNorm(dim)
        self.feedforward_norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, tokens: Float[Tensor, "batch token dim"], mask: Bool[Tensor, "batch token"]
    ) -> Float[Tensor, "batch token dim"]:
        """Return the tokens after one round of attention."""
        read, _ = self.self_attention(tokens, tokens, mask)
        tokens = self.self_attention_norm(tokens + self.dropout(read))
        mixed: Tensor = self.feedforward_norm(tokens + self.dropout(self.feedforward(tokens)))
        return mixed


class EqualFusion(nn.Module):
    """Multimodal fusion without guidance: self-attention over text and image tokens together.

    Args:
        num_units: Number of units; at least 1.
        dim: Width d of text and image tokens.
        num_heads: Attention heads of each unit.
        feedforward_dim: Width between the two feed-forward layers of each unit.
        dropout: Dropout probability in each unit, except of attention weights.
        attention_dropout: Dropout probability of attention weights.

    Source:
        Wei et al., ACL 2023, the first row (MFS) of the ablation study.  We did not have the
        paper: the layers are our reading of "equal".
    """

    def __init__(
        self,
        num_units: int,
        dim: int,
        num_heads: int,
        feedforward_dim: int,
        dropout: float,
        attention_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        _require_units(num_units)
        self.units = nn.ModuleList(
            EqualUnit(dim, num_heads, feedforward_dim, dropout, attention_dropout)
            for _ in range(num_units)
        )

    def forward(
        self,
        text: Float[Tensor, "batch token dim"],
        image: Float[Tensor, "batch patch dim"],
        text_mask: Bool[Tensor, "batch token"],
        image_mask: Bool[Tensor, "batch patch"],
    ) -> tuple[Float[Tensor, "batch both dim"], Bool[Tensor, "batch both"]]:
        """Return text tokens followed by image tokens, and the mask of real ones."""
        tokens, mask = torch.cat([text, image], 1), torch.cat([text_mask, image_mask], 1)
        for unit in self.units:
            tokens = unit(tokens, mask)
        return tokens, mask


def _feedforward(dim: int, inner_dim: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(dim, inner_dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(inner_dim, dim)
    )


def _require_units(num_units: int) -> None:
    if num_units < 1:
        raise ConfigError(f"Fusion needs at least 1 unit, not {num_units}.")
