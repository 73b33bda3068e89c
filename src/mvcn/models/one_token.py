"""Classifiers of one vector: BERT's first token, or the mean of an image's tokens (ResNet)."""

from torch import nn

from mvcn.encoders.tokens import token_width
from mvcn.models.configuration import MvcnConfig
from mvcn.models.network import MvcnOutput, Network, Tokens
from mvcn.nn.pooling import masked_mean


def build_bert(config: MvcnConfig) -> "FirstTextToken":
    """Build the network for the width of its text encoder."""
    return FirstTextToken(token_width(config.text_config), config.num_labels, config.dropout)


def build_resnet(config: MvcnConfig) -> "MeanImageToken":
    """Build the network for the width of its image encoder."""
    return MeanImageToken(token_width(config.image_config), config.num_labels, config.dropout)


class FirstTextToken(Network):
    """A linear classifier on the text encoder's first token.

    Args:
        width: Width of the tokens.
        num_classes: Classes K.
        dropout: Before the classifier.

    Source:
        Devlin et al., NAACL 2019, section 4.1.  Deviation: without BERT's pooling layer, which
        the packaged encoder does not have.
    """

    def __init__(self, width: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.feature_size = width
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, tokens: Tokens, output_attentions: bool = False) -> MvcnOutput:
        """Classify posts by their texts."""
        feature = tokens.text[:, 0].masked_fill(~tokens.text_mask[:, :1], 0)
        logits = self.classifier(self.dropout(feature))
        return MvcnOutput(logits, feature, logits)


class MeanImageToken(Network):
    """A linear classifier on the mean of the image encoder's tokens.

    Args:
        width: Width of the tokens.
        num_classes: Classes K.
        dropout: Before the classifier.

    Source:
        He et al., CVPR 2016: global average pooling and one linear layer.  Deviation: dropout; by
        default another convolutional network, frozen.
    """

    def __init__(self, width: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.feature_size = width
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, tokens: Tokens, output_attentions: bool = False) -> MvcnOutput:
        """Classify posts by their images."""
        feature = masked_mean(tokens.image, tokens.image_mask)
        logits = self.classifier(self.dropout(feature))
        return MvcnOutput(logits, feature, logits)
