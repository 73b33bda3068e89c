"""A vision transformer on the tokens of an image."""

import torch
from torch import nn

from mvcn.encoders.tokens import token_width
from mvcn.models.configuration import MvcnConfig
from mvcn.models.network import MvcnOutput, Network, Tokens
from mvcn.nn.fusion import EqualUnit


def build(config: MvcnConfig) -> "VisionTransformer":
    """Build the network for the width of its image encoder."""
    return VisionTransformer(
        token_width(config.image_config),
        config.num_labels,
        hidden_size=config.hidden_size,
        feedforward_size=config.feedforward_size,
        num_heads=config.num_heads,
        num_layers=config.num_fusion_layers,
        dropout=config.dropout,
    )


class VisionTransformer(Network):
    """Self-attention over image tokens and a class token, which is then classified.

    Args:
        image_width: Width of the image encoder's tokens.
        num_classes: Classes K.
        hidden_size: Width of the transformer.
        feedforward_size: Inner width of its feed-forward layers.
        num_heads: Attention heads.
        num_layers: Layers.
        dropout: Of the layers and before the classifier.

    Source:
        Dosovitskiy et al., ICLR 2021, the hybrid architecture: patches are cells of a
        convolutional network's feature map.  Deviation: one layer by default, which normalises
        after each sum, and no embedding of positions, since the cells of a feature map near the
        border know that they are. With a ViT as the image encoder its tokens are the patches.
    """

    def __init__(
        self,
        image_width: int,
        num_classes: int,
        *,
        hidden_size: int,
        feedforward_size: int,
        num_heads: int,
        num_layers: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.feature_size = hidden_size
        self.norm = nn.LayerNorm(image_width, elementwise_affine=False)
        self.projection = nn.Linear(image_width, hidden_size)
        self.class_token = nn.Parameter(torch.empty(hidden_size).normal_(std=0.02))
        self.layers = nn.ModuleList(
            EqualUnit(hidden_size, num_heads, feedforward_size, dropout) for _ in range(num_layers)
        )
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(hidden_size, num_classes)

    def forward(self, tokens: Tokens, output_attentions: bool = False) -> MvcnOutput:
        """Classify posts by their images."""
        patches = self.projection(self.norm(tokens.image))
        first = self.class_token.expand(len(patches), 1, -1)
        mask = nn.functional.pad(tokens.image_mask, (1, 0), value=True)
        states = torch.cat([first, patches], 1)
        for layer in self.layers:
            states = layer(states, mask)
        feature = states[:, 0]
        logits = self.classifier(self.dropout(feature))
        return MvcnOutput(logits, feature, logits)
