"""Co-memory network: text and image question each other's memory (Xu, Mao and Chen 2018)."""

import torch
from torch import nn

from mvcn.models.network import MvcnOutput, Network, Tokens
from mvcn.nn.layers import MaskedLstm
from mvcn.nn.pooling import GuidedAttention, masked_mean
from mvcn.settings import Count

SIZE = 128
"""Of both memories; our choice."""


class CoMemoryNetwork(Network):
    r"""A memory of words M and one of image regions V, which are read in turns.

    .. math::
        q_v^{k+1} = q_v^k + \mathrm{att}(V; q_t^k), \quad q_t^{k+1} = q_t^k + \mathrm{att}(M; q_v^k)

    beginning with the mean of each memory.

    Args:
        text_width: Width of the text encoder's tokens.
        image_width: Width of the image encoder's tokens.
        num_classes: Classes K.
        dropout: Before the classifier.
        hops: Turns.

    Source:
        Xu, Mao and Chen, SIGIR 2018. No code is public; sizes, and whether hops share their
        weights, are not known: here they do.  Deviation: words are the text encoder's tokens and
        not GloVe.
    """

    def __init__(
        self,
        text_width: int,
        image_width: int,
        num_classes: int,
        *,
        dropout: float,
        hops: Count = 6,
    ) -> None:
        super().__init__()
        self.feature_size = 2 * SIZE
        self.hops = hops
        self.words = MaskedLstm(text_width, SIZE // 2)
        self.regions = nn.Linear(image_width, SIZE)
        self.read_words = GuidedAttention(SIZE, SIZE, SIZE)
        self.read_regions = GuidedAttention(SIZE, SIZE, SIZE)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(2 * SIZE, num_classes)

    def forward(self, tokens: Tokens, output_attentions: bool = False) -> MvcnOutput:
        """Classify posts."""
        words = self.words(tokens.text, tokens.text_mask)
        regions = torch.tanh(self.regions(tokens.image))
        text = masked_mean(words, tokens.text_mask)
        image = masked_mean(regions, tokens.image_mask)
        for _ in range(self.hops):
            text, image = (
                text + self.read_words(words, image, tokens.text_mask),
                image + self.read_regions(regions, text, tokens.image_mask),
            )
        feature = torch.cat([text, image], 1)
        logits = self.classifier(self.dropout(feature))
        return MvcnOutput(logits, feature, logits)
