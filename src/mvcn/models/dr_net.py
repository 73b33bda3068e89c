"""D&R Net: what text and image have in common and where they differ (Xu, Zeng and Mao 2020)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mvcn.models.network import MvcnOutput, Network, Tokens
from mvcn.nn.attention import MultiHeadAttention
from mvcn.nn.layers import MaskedLstm
from mvcn.nn.pooling import GuidedAttention, masked_mean

SIZE = 128
"""Of all vectors; our choice."""


class DecompositionAndRelation(Network):
    r"""Decomposition: the discrepancy of text and image; relation: what the image's words say.

    With text vector t and image vector v, a shared projection S and private ones P:

    .. math::
        d = P_t t - P_v v, \quad
        L_\perp = \lVert S^\top P_t \rVert_F^2 + \lVert S^\top P_v \rVert_F^2

    and adjective-noun pairs of the image ask for words of the text, as the text asks for pairs.

    Args:
        text_width: Width of the text encoder's tokens, and of pairs.
        image_width: Width of the image encoder's tokens.
        num_classes: Classes K.
        dropout: Before the classifier.

    Source:
        Xu, Zeng and Mao, ACL 2020. No code is public; sizes and the weight of the penalty are not
        known.  Deviations: a pair is a word for what is in the image (the data set's, or a likely
        object) with the word of VADER's lexicon that is most like it, where the authors detect
        pairs by SentiBank; the shared parts, whose sum goes to the classifier, too; words are the
        text encoder's tokens; the penalty is a mean over entries.
    """

    def __init__(
        self, text_width: int, image_width: int, num_classes: int, *, dropout: float
    ) -> None:
        super().__init__()
        self.feature_size = 4 * SIZE
        self.words = MaskedLstm(text_width, SIZE // 2)
        self.image = nn.Linear(image_width, SIZE)
        self.pairs = nn.Linear(text_width, SIZE)
        self.shared, self.private_text, self.private_image = (
            nn.Linear(SIZE, SIZE, bias=False) for _ in range(3)
        )
        self.pairs_ask = MultiHeadAttention(SIZE, 1)
        self.text_asks = GuidedAttention(SIZE, SIZE, SIZE)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(self.feature_size, num_classes)

    def forward(self, tokens: Tokens, output_attentions: bool = False) -> MvcnOutput:
        """Classify posts."""
        states = self.words(tokens.text, tokens.text_mask)
        text = masked_mean(states, tokens.text_mask)
        image = self.image(masked_mean(tokens.image, tokens.image_mask)).tanh()
        image = image.masked_fill(~tokens.image_mask.any(1, keepdim=True), 0)
        relation = self._relation(states, text, tokens)
        common = self.shared(text) + self.shared(image)
        discrepancy = self.private_text(text) - self.private_image(image)
        feature = torch.cat([common, discrepancy, *relation], 1)
        logits = self.classifier(self.dropout(feature))
        penalty = self._overlap() if self.training else None
        return MvcnOutput(logits, feature, logits, penalty=penalty)

    def _relation(
        self, states: Tensor, text: Tensor, tokens: Tokens
    ) -> tuple[Float[Tensor, "batch dim"], Float[Tensor, "batch dim"]]:
        pairs, mask = self.pairs(tokens.attributes), tokens.attribute_mask
        answers, _ = self.pairs_ask(pairs, states, tokens.text_mask)
        has_text = tokens.text_mask.any(1, keepdim=True)
        asked = masked_mean(answers, mask).masked_fill(~has_text, 0)
        return asked, self.text_asks(pairs, text, mask)

    def _overlap(self) -> Float[Tensor, ""]:
        shared, *private = (
            layer.weight for layer in (self.shared, self.private_text, self.private_image)
        )
        return torch.stack([(shared @ one.T).square().mean() for one in private]).sum()
