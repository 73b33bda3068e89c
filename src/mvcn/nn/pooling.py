"""Pool tokens into one vector: the reduction unit (RU), masked means, learned attention."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mvcn.nn.attention import masked_softmax
from mvcn.types import Summary


class ReductionUnit(nn.Module):
    r"""Pool the tokens by learned attention, then mix the pooled features.

    .. math::
        a = \mathrm{softmax}(\mathrm{MLP}(X)), \quad z = \mathrm{FC}\Bigl(\sum_i a_i x_i\Bigr)

    with the softmax over the real tokens of X only.

    Args:
        dim: Width d of the tokens and of the fused feature.
        dropout: Dropout probability inside MLP and FC; attention weights have none.

    Source:
        Wei et al., ACL 2023, reduction unit; the pooling is Yu et al., CVPR 2019 (MCAN).
        We did not have the paper: that MLP and FC are two layers of width `dim` is our choice.
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
        """Return the weight of each token in the pooled feature; exactly 0 for padding."""
        return masked_softmax(self.score(tokens).squeeze(-1), mask)

    def forward(
        self,
        tokens: Float[Tensor, "batch token dim"],
        mask: Bool[Tensor, "batch token"] | None = None,
    ) -> Float[Tensor, "batch dim"]:
        """Return the fused feature z."""
        weights = self.weights(tokens, mask).to(tokens.dtype)
        fused: Tensor = self.mix((weights.unsqueeze(-1) * tokens).sum(1))
        return fused


def masked_mean(
    tokens: Float[Tensor, "batch token dim"], mask: Bool[Tensor, "batch token"]
) -> Float[Tensor, "batch dim"]:
    """Return the mean of the real tokens; zeros without any."""
    # Padding may hold any values, and zero times infinity would be NaN.
    real = tokens.masked_fill(~mask.unsqueeze(-1), 0)
    # A sum of float16 may exceed 65504 where the mean does not.
    total = real.sum(1, dtype=torch.promote_types(tokens.dtype, torch.float32))
    return (total / mask.sum(1, keepdim=True).clamp(min=1)).to(tokens.dtype)


def summary_token(
    tokens: Float[Tensor, "batch token dim"], mask: Bool[Tensor, "batch token"], summary: Summary
) -> Float[Tensor, "batch dim"]:
    """Return the token that stands for a sequence; zeros for one without real tokens.

    Args:
        tokens: Sequences that begin with their real tokens.
        mask: Which tokens are real.
        summary: The first token, the last real one, or the mean of all real ones.
    """
    if summary == "mean":
        return masked_mean(tokens, mask)
    places = mask.sum(1).clamp(min=1) - 1 if summary == "last" else mask.sum(1) * 0
    chosen = tokens.gather(1, places[:, None, None].expand(-1, 1, tokens.shape[2])).squeeze(1)
    return chosen.masked_fill(~mask.any(1, keepdim=True), 0)


def weighted_sum(
    tokens: Float[Tensor, "batch token dim"],
    scores: Float[Tensor, "batch token"],
    mask: Bool[Tensor, "batch token"],
) -> Float[Tensor, "batch dim"]:
    """Return the mean of the real tokens weighted by softmaxed scores; zeros without any."""
    weights = masked_softmax(scores, mask).unsqueeze(-1)
    return (weights * tokens.masked_fill(~mask.unsqueeze(-1), 0)).sum(1)


class ContextAttention(nn.Module):
    r"""Pool tokens by attention to a learned query q.

    .. math::
        u_t = \tanh(W h_t + b), \quad a = \mathrm{softmax}(u^\top q), \quad s = \sum_t a_t h_t

    Args:
        dim: Width of the tokens.

    Source:
        Yang et al., NAACL 2016, equations 5 to 7.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(dim, dim)
        self.question = nn.Parameter(torch.empty(dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the query with a norm of about 1."""
        nn.init.normal_(self.question, std=len(self.question) ** -0.5)

    def forward(
        self, tokens: Float[Tensor, "batch token dim"], mask: Bool[Tensor, "batch token"]
    ) -> Float[Tensor, "batch dim"]:
        """Return one vector per sample; zeros for one without tokens."""
        scores = torch.tanh(self.hidden(tokens)) @ self.question
        return weighted_sum(tokens, scores, mask)


class GuidedAttention(nn.Module):
    r"""Pool tokens by additive attention to a guiding vector g.

    .. math::
        a = \mathrm{softmax}_t \bigl(w^\top \tanh(W h_t + U g)\bigr), \quad s = \sum_t a_t h_t

    Args:
        dim: Width of the tokens.
        guide_dim: Width of the guiding vector.
        hidden_dim: Width of the space in which tokens and guide are compared.

    Source:
        Bahdanau et al., ICLR 2015, appendix A.1.2.
    """

    def __init__(self, dim: int, guide_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.token = nn.Linear(dim, hidden_dim)
        self.guide = nn.Linear(guide_dim, hidden_dim, bias=False)
        self.score = nn.Linear(hidden_dim, 1, bias=False)

    def scores(
        self, tokens: Float[Tensor, "batch token dim"], guide: Float[Tensor, "batch guide_dim"]
    ) -> Float[Tensor, "batch token"]:
        """Return the score of each token before the softmax."""
        hidden = torch.tanh(self.token(tokens) + self.guide(guide).unsqueeze(1))
        scores: Tensor = self.score(hidden).squeeze(-1)
        return scores

    def forward(
        self,
        tokens: Float[Tensor, "batch token dim"],
        guide: Float[Tensor, "batch guide_dim"],
        mask: Bool[Tensor, "batch token"],
    ) -> Float[Tensor, "batch dim"]:
        """Return one vector per sample; zeros for one without tokens."""
        return weighted_sum(tokens, self.scores(tokens, guide), mask)
