"""MultiSentiNet: objects and scene of the image say which words matter (Xu and Mao 2017)."""

import torch
from torch import nn

from mvcn.models.network import MvcnOutput, Network, Tokens
from mvcn.nn.layers import MaskedLstm
from mvcn.nn.pooling import GuidedAttention, masked_mean

SIZE = 128


class MultiSentiNet(Network):
    r"""Attention over the words that is guided by an object vector o and a scene vector s.

    .. math::
        u_t = \tanh(W h_t + W_o o + W_s s + b), \quad a = \mathrm{softmax}(v^\top u), \quad
        z = \mathrm{ReLU}(W_z [s; o; \sum_t a_t h_t])

    with the states h of an LSTM.

    Args:
        text_width: Width of the text encoder's tokens, and of the scene's words.
        num_objects: Objects that the image encoder was trained to name.
        num_classes: Classes K.
        dropout: Before the classifier.

    Source:
        Xu and Mao, CIKM 2017, with the sizes of the authors' code.  Deviations: objects are the
        probabilities of the image encoder's own classes, and the scene is the mean vector of words
        for the image (those of an attribute model that was trained on scenes, else of the data
        set, else the likeliest objects), where the authors take vectors of two VGG; words of the
        text are the text encoder's tokens and not GloVe; padding gets no attention.
    """

    def __init__(
        self,
        text_width: int,
        num_objects: int,
        num_classes: int,
        *,
        dropout: float,
    ) -> None:
        super().__init__()
        self.feature_size = SIZE
        self.object = nn.Linear(num_objects, SIZE)
        self.scene = nn.Linear(text_width, SIZE)
        self.lstm = MaskedLstm(text_width, SIZE, bidirectional=False)
        self.attention = GuidedAttention(SIZE, 2 * SIZE, SIZE)
        self.mix = nn.Sequential(nn.Linear(3 * SIZE, SIZE), nn.ReLU())
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(SIZE, num_classes)

    def forward(self, tokens: Tokens, output_attentions: bool = False) -> MvcnOutput:
        """Classify posts."""
        scene = self.scene(masked_mean(tokens.attributes, tokens.attribute_mask)).relu()
        guide = torch.cat([self.object(tokens.objects).relu(), scene], 1)
        states = self.lstm(tokens.text, tokens.text_mask)
        text = self.attention(states, guide, tokens.text_mask)
        feature = self.mix(torch.cat([guide, text], 1))
        logits = self.classifier(self.dropout(feature))
        return MvcnOutput(logits, feature, logits)
