"""A linear classifier of words and pairs of them, whatever their meaning."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mvcn.types import WORD_NUMBERS

FACTORS = (1_000_003, 999_983)
"""Of the first and the second word of a pair."""
PAIR_WEIGHT = 0.5
"""Of all pairs of a text, where its words have 1: chosen on generated tasks in seven languages."""


def split_ngrams(
    word_ids: Int[Tensor, "batch token"], mask: Bool[Tensor, "batch token"]
) -> list[tuple[Int[Tensor, "batch gram"], Bool[Tensor, "batch gram"]]]:
    """Return words and pairs of neighbours, as numbers, each with which of them are real.

    Args:
        word_ids: Numbered word pieces.
        mask: True for a real one.
    """
    (first, second), words = FACTORS, word_ids // WORD_NUMBERS
    is_word = mask & (words > 0)
    pairs = words[:, :-1] * first + words[:, 1:] * second + 1
    return [(words, is_word), (pairs, is_word[:, :-1] & is_word[:, 1:])]


class NgramClassifier(nn.Module):
    r"""Score the words of a text, and the pairs of neighbours.

    .. math::
        l = \sum_{n=1}^{2} \frac{c_n \sum_g v_{h(g)} w_{h(g)}}{\sqrt{\sum_g v_{h(g)}^2}} + b

    over all n-grams g of a text, where h is the hash of an n-gram, v its inverse document frequency
    (0 if no training text has it), w its weights, :math:`c_1` is 1 and :math:`c_2` is
    `PAIR_WEIGHT`. A post without a text has the logits 0.

    Args:
        num_buckets: Values of the hash.
        num_classes: Classes K.

    Source:
        Not in Wei et al., ACL 2023; ours. Hashed n-grams: Weinberger et al., ICML 2009; Joulin et
        al., EACL 2017 (fastText).
    """

    weight: Tensor
    bias: Tensor
    idf: Tensor

    def __init__(self, num_buckets: int, num_classes: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(num_buckets, num_classes))
        self.register_buffer("bias", torch.zeros(num_classes))
        self.register_buffer("idf", torch.zeros(num_buckets))

    def reset_parameters(self) -> None:
        """Forget all n-grams."""
        for buffer in self.buffers():
            nn.init.zeros_(buffer)

    def forward(
        self, word_ids: Int[Tensor, "batch token"], mask: Bool[Tensor, "batch token"]
    ) -> Float[Tensor, "batch classes"]:
        """Return the logits of texts; `mask` is False for padding and missing texts."""
        words, pairs = split_ngrams(word_ids, mask)
        scores = self._score(*words) + PAIR_WEIGHT * self._score(*pairs)
        return scores + self.bias * mask.any(1, keepdim=True)

    def _score(
        self, grams: Int[Tensor, "batch gram"], is_real: Bool[Tensor, "batch gram"]
    ) -> Float[Tensor, "batch classes"]:
        buckets = grams % len(self.idf)
        values = self.idf[buckets] * is_real
        norm = values.square().sum(1, keepdim=True).sqrt().clamp(min=torch.finfo().tiny)
        scores: Tensor = (values.unsqueeze(-1) * self.weight[buckets]).sum(1) / norm
        return scores
