"""Multi-head attention with softmax or sparsemax weights."""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from mvcn.errors import ConfigError
from mvcn.nn.sparsemax import sparsemax

Normalizer = Literal["sparsemax", "softmax"]


def masked_softmax(
    scores: Float[Tensor, "*rows n"], mask: Bool[Tensor, "..."] | None = None
) -> Float[Tensor, "*rows n"]:
    """Return the softmax over the unmasked scores, and exactly 0 elsewhere.

    A fully masked row gives zeros and passes no gradient.

    Args:
        scores: Finite numbers.
        mask: True where a score may be attended; broadcast against `scores`.
    """
    if mask is None:
        return scores.softmax(-1)
    lowest = torch.finfo(scores.dtype).min
    return scores.masked_fill(~mask, lowest).softmax(-1).masked_fill(~mask, 0)


class MultiHeadAttention(nn.Module):
    r"""Scaled dot-product attention of query tokens over a memory, in several heads.

    .. math::
        \mathrm{head}_h = \mathrm{normalizer}(Q_h K_h^\top / \sqrt{d_h}) \, V_h

    and the concatenated heads pass a last linear layer. Sparsemax weights are never dropped: a
    dropped and rescaled row of them is no longer on the simplex, and its few nonzero weights are
    shown as an explanation.

    A sample whose memory is fully masked attends to zeros.

    Args:
        dim: Width of query, memory and output.
        num_heads: Number of heads; must divide `dim` unless `head_dim` is given.
        normalizer: Maps scores to attention weights.
        head_dim: Width d_h of a head; by default ``dim / num_heads``.
        dropout: Dropout probability of softmax weights.

    Source:
        Vaswani et al., NeurIPS 2017, section 3.2; sparsemax: Martins & Astudillo, ICML 2016.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        normalizer: Normalizer = "softmax",
        *,
        head_dim: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if num_heads < 1 or (head_dim is None and dim % num_heads):
            raise ConfigError(
                f"A width of {dim} cannot be divided evenly among {num_heads} attention heads: "
                "change one of them."
            )
        if normalizer == "sparsemax" and dropout > 0:
            raise ConfigError("Sparsemax weights cannot be dropped: set their dropout to 0.")
        self.num_heads = num_heads
        self.normalizer = normalizer
        inner_dim = dim if head_dim is None else num_heads * head_dim
        self.query = nn.Linear(dim, inner_dim)
        self.key = nn.Linear(dim, inner_dim)
        self.value = nn.Linear(dim, inner_dim)
        self.out = nn.Linear(inner_dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        query: Float[Tensor, "batch token dim"],
        memory: Float[Tensor, "batch patch dim"],
        memory_mask: Bool[Tensor, "batch patch"] | None = None,
        *,
        return_weights: bool = False,
    ) -> tuple[Float[Tensor, "batch token dim"], Float[Tensor, "batch head token patch"] | None]:
        """Return the attended tokens, and the attention weights if requested."""
        q = self._split_heads(self.query(query))
        k, v = self._split_heads(self.key(memory)), self._split_heads(self.value(memory))
        mask = None if memory_mask is None else memory_mask[:, None, None, :]
        weights: Tensor | None = None
        if self.normalizer == "softmax" and not return_weights:
            attended = _attend_by_softmax(q, k, v, mask, self.dropout.p * self.training)
        else:
            weights = self._weights(q, k, mask)
            attended = self.dropout(weights).to(v.dtype) @ v
        output: Tensor = self.out(attended.transpose(1, 2).flatten(2))
        return output, weights if return_weights else None

    def _split_heads(self, tokens: Tensor) -> Tensor:
        heads = self.num_heads, tokens.shape[-1] // self.num_heads
        return tokens.view(*tokens.shape[:2], *heads).transpose(1, 2)

    def _weights(self, q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
        normalize = sparsemax if self.normalizer == "sparsemax" else masked_softmax
        return normalize(_scores(q, k), mask)


def _scores(q: Tensor, k: Tensor) -> Tensor:
    q = q * q.shape[-1] ** -0.5
    if q.dtype != torch.float16:
        return q @ k.transpose(-2, -1)
    with torch.autocast(q.device.type, enabled=False):  # a score may exceed 65504
        return q.float() @ k.float().transpose(-2, -1)


def _attend_by_softmax(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float
) -> Tensor:
    """Fused softmax attention; the output of a fully masked sample is set to zero."""
    if mask is None:
        return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
    is_empty = ~mask.any(-1, keepdim=True)
    shown = (mask | is_empty).expand(-1, -1, q.shape[2], -1)  # not broadcast in ONNX
    attended = F.scaled_dot_product_attention(q, k, v, attn_mask=shown, dropout_p=dropout)
    return attended.masked_fill(is_empty, 0)
