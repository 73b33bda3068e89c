"""HSAN: the image enters as a sentence, beside the text (Xu 2017)."""

import torch
from torch import nn

from mvcn.models.network import MvcnOutput, Network, Tokens
from mvcn.nn.layers import MaskedLstm
from mvcn.nn.pooling import ContextAttention

SIZE = 64
"""Of the states of one direction; our choice."""


class HierarchicalAttention(Network):
    """From words to sentences, and from sentences to the post, each by an LSTM with attention.

    The sentences are the text and a caption of the image.

    Args:
        text_width: Width of the text encoder's tokens.
        num_classes: Classes K.
        dropout: Of words and before the classifier.

    Source:
        Xu, ISI 2017; the hierarchy and its attention are Yang et al., NAACL 2016. No code is
        public, and sizes are not known.  Deviations: the caption is the row of words for what is
        in the image (those of the data set, or the likeliest objects of the image encoder), where
        the author lets a captioner write one; a text is one sentence; its words are the text
        encoder's tokens.
    """

    def __init__(self, text_width: int, num_classes: int, *, dropout: float) -> None:
        super().__init__()
        self.feature_size = 2 * SIZE
        self.words = MaskedLstm(text_width, SIZE)
        self.word_attention = ContextAttention(2 * SIZE)
        self.sentences = MaskedLstm(2 * SIZE, SIZE)
        self.sentence_attention = ContextAttention(2 * SIZE)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(2 * SIZE, num_classes)

    def forward(self, tokens: Tokens, output_attentions: bool = False) -> MvcnOutput:
        """Classify posts."""
        rows = ((tokens.text, tokens.text_mask), (tokens.attributes, tokens.attribute_mask))
        sentences = [
            self.word_attention(self.words(self.dropout(words), mask), mask) for words, mask in rows
        ]
        # Both are always read: a sentence without words is one of zeros.
        both = torch.stack(sentences, 1)
        mask = torch.ones(both.shape[:2], dtype=torch.bool, device=both.device)
        feature = self.sentence_attention(self.sentences(both, mask), mask)
        logits = self.classifier(self.dropout(feature))
        return MvcnOutput(logits, feature, logits)
