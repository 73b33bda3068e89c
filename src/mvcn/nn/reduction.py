"""Reduction unit (RU): from text tokens to the fused feature."""

from jaxtyping import Bool, Float
from torch import Tensor, nn

from mvcn.nn.attention import masked_softmax


class ReductionUnit(nn.Module):
    r"""Pool the tokens by learned attention, then mix the pooled features.

    .. math::
        a = \mathrm{softmax}(\mathrm{MLP}(X)), \quad z = \mathrm{FC}\Bigl(\sum_i a_i x_i\Bigr)

    with the softmax over the real tokens of X alone.

    Args:
        dim: Width d of the tokens and of the fused feature.
        dropout: Share dropped inside MLP and FC, never of the attention weights.

    Source:
        Wei et al., ACL 2023, reduction unit; the pooling is Yu et al., CVPR 2019 (MCAN).
        Deviation: the sizes of MLP and FC are not public; here both are two layers of width `dim`.
    """

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.score = nn.Sequential(
            nn.Linear(dim, dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(dim, 1)
        )
        self.mix = nn.Sequential(
            nn.Linear(dim, dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(dim, dim)
        )

    def weights(
        self,
        tokens: Float[Tensor, "batch token dim"],
        mask: Bool[Tensor, "batch token"] | None = None,
    ) -> Float[Tensor, "batch token"]:
        """Return the share of each token in the pooled feature; exactly 0 for padding."""
        return masked_softmax(self.score(tokens).squeeze(-1), mask)

    def forward(
        self,
        tokens: Float[Tensor, "batch token dim"],
        mask: Bool[Tensor, "batch token"] | None = None,
    ) -> Float[Tensor, "batch dim"]:
        """Return the fused feature z."""
        weights = self.weights(tokens, mask).to(tokens.dtype)
        pooled = (weights.unsqueeze(-1) * tokens).sum(1)
        fused: Tensor = self.mix(pooled)
        return fused
