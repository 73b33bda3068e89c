"""Classifiers of one vector: BERT's first token, or the mean of an image's tokens (ResNet)."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn

from mvcn.encoders.tokens import token_width
from mvcn.models.configuration import MvcnConfig
from mvcn.models.network import MvcnOutput, Network, Tokens
from mvcn.nn.pooling import masked_mean


def build_bert(config: MvcnConfig) -> "OneVector":
    """Build a classifier of the text encoder's first token.

    Source: Devlin et al., NAACL 2019, section 4.1.  Deviation: without BERT's pooling layer, which
    the packaged encoder does not have.
    """
    width = token_width(config.text_config)
    return OneVector(first_text_token, width, config.num_labels, config.dropout)


def build_resnet(config: MvcnConfig) -> "OneVector":
    """Build a classifier of the image encoder's mean token.

    Source: He et al., CVPR 2016: global average pooling and one linear layer.  Deviation: dropout;
    by default another convolutional network, frozen.
    """
    width = token_width(config.image_config)
    return OneVector(mean_image_token, width, config.num_labels, config.dropout)


class OneVector(Network):
    """A linear classifier on one vector of a post.

    Args:
        pool: Makes the vector; zeros for a post that lacks what it reads.
        width: Of the vector.
        num_classes: Classes K.
        dropout: Before the classifier.
    """

    def __init__(
        self, pool: Callable[[Tokens], Tensor], width: int, num_classes: int, dropout: float
    ) -> None:
        super().__init__()
        self.feature_size = width
        self.pool = pool
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, tokens: Tokens, output_attentions: bool = False) -> MvcnOutput:
        """Classify posts by their vectors."""
        feature = self.pool(tokens)
        logits = self.classifier(self.dropout(feature))
        return MvcnOutput(logits, feature, logits)


def first_text_token(tokens: Tokens) -> Float[Tensor, "batch dim"]:
    """Return the first token of each text; zeros without a text."""
    return tokens.text[:, 0].masked_fill(~tokens.text_mask[:, :1], 0)


def mean_image_token(tokens: Tokens) -> Float[Tensor, "batch dim"]:
    """Return the mean token of each image; zeros without an image."""
    return masked_mean(tokens.image, tokens.image_mask)
