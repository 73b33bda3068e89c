"""A bidirectional LSTM over the words of a text, with attention or without."""

import torch
from torch import nn

from mvcn.encoders.tokens import token_width
from mvcn.models.configuration import MvcnConfig
from mvcn.models.network import MvcnOutput, Network, Tokens
from mvcn.nn.pooling import masked_mean, weighted_sum
from mvcn.nn.recurrent import MaskedLstm
from mvcn.settings import Count, Settings

WORD_DROPOUT = STATE_DROPOUT = 0.3
FEATURE_DROPOUT = 0.5


class BiLstmOptions(Settings):
    """What this network alone can be told."""

    attention: bool = True
    """Weigh the states (Zhou et al.), or take their mean (the text branch of Cai et al.)."""
    state_size: Count = 100
    """Width of the states of one direction; 256 in Cai et al."""


def build(config: MvcnConfig) -> "BiLstm":
    """Build the network for the width of its text encoder."""
    return BiLstm(token_width(config.text_config), config.num_labels, **(config.options or {}))


class BiLstm(Network):
    r"""States of both directions, pooled, then a linear classifier.

    With attention, the states h of the two directions are added, and

    .. math::
        a = \mathrm{softmax}(w^\top \tanh(H)), \quad z = \tanh\Bigl(\sum_t a_t h_t\Bigr)

    Args:
        text_width: Width of the text encoder's tokens.
        num_classes: Classes K.
        attention: Weigh the states, or take the mean of both directions side by side.
        state_size: Width of the states of one direction.

    Source:
        Zhou et al., ACL 2016, section 3: sizes and dropout.  Without attention: the text branch
        of Cai et al., ACL 2019.  Deviation: their words are vectors of their own (GloVe in Cai
        et al.); here they are the tokens of the text encoder, or, with ``text_layers: 0``, its
        vectors of word pieces, which are trained.
    """

    def __init__(
        self, text_width: int, num_classes: int, *, attention: bool, state_size: int
    ) -> None:
        super().__init__()
        self.feature_size = state_size if attention else 2 * state_size
        self.word_dropout = nn.Dropout(WORD_DROPOUT)
        self.state_dropout = nn.Dropout(STATE_DROPOUT)
        self.dropout = nn.Dropout(FEATURE_DROPOUT)
        self.lstm = MaskedLstm(text_width, state_size)
        self.score = nn.Linear(state_size, 1, bias=False) if attention else None
        self.classifier = nn.Linear(self.feature_size, num_classes)

    def forward(self, tokens: Tokens, output_attentions: bool = False) -> MvcnOutput:
        """Classify posts by their texts."""
        mask = tokens.text_mask
        states = self.state_dropout(self.lstm(self.word_dropout(tokens.text), mask))
        if self.score is None:
            feature = masked_mean(states, mask)
        else:
            added = sum(states.chunk(2, dim=-1))
            assert isinstance(added, torch.Tensor)
            scores = self.score(torch.tanh(added)).squeeze(-1)
            feature = torch.tanh(weighted_sum(added, scores, mask))
        logits = self.classifier(self.dropout(feature))
        return MvcnOutput(logits, feature, logits)
