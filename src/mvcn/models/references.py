"""What a practitioner would pick instead: logistic regression on embeddings, and late fusion."""

import torch
from torch import nn
from torch.nn import functional as F

from mvcn.models.network import MvcnOutput, Network, Tokens
from mvcn.nn.pooling import masked_mean


class LogisticRegression(Network):
    """A linear classifier on the mean text token beside the mean image token.

    Args:
        text_width: Width of the text encoder's tokens.
        image_width: Width of the image encoder's tokens.
        num_classes: Classes K.

    Source:
        Ours: the usual first thing to try; its recipe freezes both encoders.  Deviation from what
        is usual: each mean is normalised to mean 0 and deviation 1 over its own entries and not
        over the posts, and weights are found by AdamW, as all others here.
    """

    def __init__(self, text_width: int, image_width: int, num_classes: int) -> None:
        super().__init__()
        self.feature_size = text_width + image_width
        self.classifier = nn.Linear(self.feature_size, num_classes)

    def forward(self, tokens: Tokens, output_attentions: bool = False) -> MvcnOutput:
        """Classify posts."""
        text = masked_mean(tokens.text, tokens.text_mask)
        image = masked_mean(tokens.image, tokens.image_mask)
        feature = torch.cat([F.layer_norm(mean, mean.shape[1:]) for mean in (text, image)], 1)
        logits = self.classifier(feature)
        return MvcnOutput(logits, feature, logits)


class LateFusion(Network):
    """A linear classifier of the text and one of the image; their scores are averaged.

    A post that lacks one of the two is scored by the other alone.

    Args:
        text_width: Width of the text encoder's tokens.
        image_width: Width of the image encoder's tokens.
        num_classes: Classes K.
        dropout: Before the classifiers.

    Source:
        The late fusion that Zhang et al., ICML 2023 (QMF) compare with: half of one's logits and
        half of the other's.  Deviation: mean tokens, and the image encoder is frozen by default.
    """

    def __init__(
        self, text_width: int, image_width: int, num_classes: int, *, dropout: float
    ) -> None:
        super().__init__()
        self.feature_size = text_width + image_width
        self.dropout = nn.Dropout(dropout)
        self.text_classifier = nn.Linear(text_width, num_classes)
        self.image_classifier = nn.Linear(image_width, num_classes)

    def forward(self, tokens: Tokens, output_attentions: bool = False) -> MvcnOutput:
        """Classify posts."""
        text = masked_mean(tokens.text, tokens.text_mask)
        image = masked_mean(tokens.image, tokens.image_mask)
        has_both = torch.stack([tokens.text_mask.any(1), tokens.image_mask.any(1)], 1)
        scores = torch.stack(
            [
                self.text_classifier(self.dropout(text)),
                self.image_classifier(self.dropout(image)),
            ],
            1,
        )
        logits = masked_mean(scores, has_both)
        return MvcnOutput(logits, torch.cat([text, image], 1), logits)
