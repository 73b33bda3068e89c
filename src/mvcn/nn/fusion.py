"""Text-guided fusion (TGF): the text looks at the image and keeps what it needs."""

from jaxtyping import Bool, Float
from torch import Tensor, nn

from mvcn.errors import ConfigError
from mvcn.nn.attention import MultiHeadAttention, Normalizer


class TextGuidedUnit(nn.Module):
    r"""One round of reading the text and looking at the image.

    .. math::
        X &\leftarrow \mathrm{LN}(X + \mathrm{SelfAttention}(X, X, X)) \\
        X &\leftarrow \mathrm{LN}(X + \mathrm{SparseAttention}(X, V, V)) \\
        X &\leftarrow \mathrm{LN}(X + \mathrm{FFN}(X))

    with X the text tokens and V the image tokens.

    Args:
        dim: Width d of text and image tokens.
        num_heads: Attention heads.
        feedforward_dim: Width between the two layers of FFN.
        dropout: Share dropped inside FFN and of what each step adds; never of attention weights.
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
        self.feedforward = nn.Sequential(
            nn.Linear(dim, feedforward_dim),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(feedforward_dim, dim),
        )
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
        """Return the text tokens, and their attention weights over the image when asked."""
        read, _ = self.self_attention(text, text, text_mask)
        text = self.self_attention_norm(text + self.dropout(read))
        seen, weights = self.image_attention(text, image, image_mask, return_weights=return_weights)
        text = self.image_attention_norm(text + self.dropout(seen))
        text = self.feedforward_norm(text + self.dropout(self.feedforward(text)))
        return text, weights


class TextGuidedFusion(nn.Module):
    """Stacked text-guided units, which all look at the same image tokens.

    Args:
        num_units: Units L; at least 1.
        dim: Width d of text and image tokens.
        num_heads: Attention heads of each unit.
        feedforward_dim: Width between the two feed-forward layers of each unit.
        dropout: Share dropped in each unit, never of attention weights.
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
        if num_units < 1:
            raise ConfigError(f"Text-guided fusion needs at least 1 unit, not {num_units}.")
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
        """Return the text tokens, and each unit's attention weights (none unless asked)."""
        collected = []
        for unit in self.units:
            text, weights = unit(text, image, text_mask, image_mask, return_weights=return_weights)
            if weights is not None:
                collected.append(weights)
        return text, tuple(collected)
