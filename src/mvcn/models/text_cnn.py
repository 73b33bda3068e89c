"""Convolutions over the words of a text (Kim 2014)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from mvcn.encoders.tokens import token_width
from mvcn.models.configuration import MvcnConfig
from mvcn.models.network import MvcnOutput, Network, Tokens

WIDTHS = (3, 4, 5)
MAPS = 100
DROPOUT = 0.5
LARGEST_NORM = 3.0


def build(config: MvcnConfig) -> "TextCnn":
    """Build the network for the width of its text encoder."""
    return TextCnn(token_width(config.text_config), config.num_labels)


class TextCnn(Network):
    """The strongest answer of each filter to any few words in a row, then a linear classifier.

    Args:
        text_width: Width of the text encoder's tokens.
        num_classes: Classes K.

    Source:
        Kim, EMNLP 2014: widths, number of filters, dropout, and the bound on the norm of the
        classifier's weights.  Deviation: its words are vectors of word2vec; here they are the
        tokens of the text encoder, or, with ``text_layers: 0``, its vectors of word pieces, which
        are trained. The bound holds in each forward pass and not by rescaling after a step.
    """

    def __init__(self, text_width: int, num_classes: int) -> None:
        super().__init__()
        self.feature_size = MAPS * len(WIDTHS)
        self.filters = nn.ModuleList(
            nn.Conv1d(text_width, MAPS, width, padding=width - 1) for width in WIDTHS
        )
        self.dropout = nn.Dropout(DROPOUT)
        self.classifier = nn.Linear(self.feature_size, num_classes)

    def forward(self, tokens: Tokens, output_attentions: bool = False) -> MvcnOutput:
        """Classify posts by their texts."""
        words = tokens.text.masked_fill(~tokens.text_mask.unsqueeze(-1), 0).transpose(1, 2)
        is_real = tokens.text_mask.to(words.dtype).unsqueeze(1)
        feature = torch.cat([_strongest(words, is_real, conv) for conv in self.filters], 1)
        logits = F.linear(self.dropout(feature), self._bounded_weight(), self.classifier.bias)
        return MvcnOutput(logits, feature, logits)

    def _bounded_weight(self) -> Float[Tensor, "classes dim"]:
        weight = self.classifier.weight
        norms: Tensor = weight.norm(dim=1, keepdim=True)
        return weight * (LARGEST_NORM / norms.clamp(min=LARGEST_NORM))


def _strongest(
    words: Float[Tensor, "batch dim token"],
    is_real: Float[Tensor, "batch 1 token"],
    conv: nn.Module,
) -> Float[Tensor, "batch maps"]:
    """Return the maximum over all windows that hold a real word; zeros where none does."""
    assert isinstance(conv, nn.Conv1d)
    width = conv.kernel_size[0]
    holds_word = F.max_pool1d(F.pad(is_real, (width - 1, width - 1)), width, stride=1)
    answers: Tensor = (F.relu(conv(words)) * holds_word).amax(2)
    return answers
