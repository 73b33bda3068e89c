"""CLMLF: a transformer over all tokens, and two contrasts between posts (Li et al. 2022)."""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mvcn.models.network import MvcnOutput, Network, Tokens
from mvcn.nn.fusion import EqualFusion
from mvcn.nn.pooling import weighted_sum
from mvcn.settings import Dropout

Activation = Literal["relu", "gelu"]


class Clmlf(Network):
    """Self-attention over text and image tokens in one row, then attention pooling.

    In training it also returns two projected views of each post, the second with some of its
    tokens left out, for `mvcn.losses.contrast`.

    Args:
        text_width: Width of the text encoder's tokens.
        image_width: Width of the image encoder's tokens.
        num_classes: Classes K.
        hidden_size: Width of the transformers.
        feedforward_size: Inner width of their feed-forward layers.
        num_heads: Attention heads.
        num_fusion_layers: Layers of the fusion; the image has one of its own before.
        dropout: Of the layers and the classifier.
        faithful: Read a feature map row by row as if it were channels last, as the authors' code.
        augmentation: Share of the tokens that the second view lacks.
        view_activation: Between the two layers that project each view; gelu in the authors' code.
        attention_dropout: Share of attention weights dropped; 0.1 in the authors' code.

    Source:
        Li et al., Findings of NAACL 2022, and the authors' code.  Deviations: fewer and narrower
        layers by default; the second view leaves out tokens, where the authors translate the text
        to and fro and distort the image; no added mean token of the image; one score a class on
        all data, where the authors have three scores for the two classes of HFM.  Deviations of
        the measured forms, `faithful` or not: ReLU in both projection heads of the views, where
        the authors have GELU (``view_activation: gelu``), and no dropout of attention weights,
        where they have 0.1 (``attention_dropout: 0.1``), so that the layers are those of MFS.
        Deviation of all forms: the text encoder learns from the first step, where the authors
        freeze it for 20 epochs and go on with all for another 30, for which the few epochs that
        all systems have here leave no room.
    """

    def __init__(  # noqa: PLR0913 (one argument for each size and option)
        self,
        text_width: int,
        image_width: int,
        num_classes: int,
        *,
        hidden_size: int,
        feedforward_size: int,
        num_heads: int,
        num_fusion_layers: int,
        dropout: float,
        faithful: bool = False,
        augmentation: Dropout = 0.15,
        view_activation: Activation = "relu",
        attention_dropout: Dropout = 0.0,
    ) -> None:
        super().__init__()
        self.feature_size = hidden_size
        self.faithful = faithful
        self.augmentation = augmentation
        sizes = (hidden_size, num_heads, feedforward_size, dropout, attention_dropout)
        self.text_projection = _projection(text_width, hidden_size)
        self.image_projection = _projection(image_width, hidden_size)
        self.image_layer = EqualFusion(1, *sizes)
        self.fusion = EqualFusion(num_fusion_layers, *sizes)
        self.score = _two_layers(hidden_size, 1)
        self.classifier = nn.Sequential(nn.Dropout(dropout), _two_layers(hidden_size, num_classes))
        self.views = nn.ModuleList(_view(hidden_size, view_activation) for _ in range(2))

    def forward(self, tokens: Tokens, output_attentions: bool = False) -> MvcnOutput:
        """Classify posts."""
        text = self.text_projection(tokens.text)
        image = self.image_projection(_mixed_up(tokens.image) if self.faithful else tokens.image)
        feature = self._fuse(text, image, tokens.text_mask, tokens.image_mask)
        logits = self.classifier(feature)
        output = MvcnOutput(logits, feature, logits)
        if self.training:
            masks = [self._thinned(mask) for mask in (tokens.text_mask, tokens.image_mask)]
            other = self._fuse(text, image, *masks)
            views = zip(self.views, (feature, other), strict=True)
            output.views = torch.stack([project(view) for project, view in views])
        return output

    def _fuse(
        self,
        text: Float[Tensor, "batch token dim"],
        image: Float[Tensor, "batch patch dim"],
        text_mask: Bool[Tensor, "batch token"],
        image_mask: Bool[Tensor, "batch patch"],
    ) -> Float[Tensor, "batch dim"]:
        nothing, nowhere = text[:, :0], text_mask[:, :0]
        image, _ = self.image_layer(nothing, image, nowhere, image_mask)
        both, mask = self.fusion(text, image, text_mask, image_mask)
        return weighted_sum(both, self.score(both).squeeze(-1), mask)

    def _thinned(self, mask: Bool[Tensor, "batch token"]) -> Bool[Tensor, "batch token"]:
        """Take tokens away at random, but never all that a post has."""
        kept = mask & (torch.rand(mask.shape, device=mask.device) >= self.augmentation)
        return torch.where(kept.any(1, keepdim=True), kept, mask)


def _projection(width: int, hidden_size: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden_size), nn.GELU())


def _two_layers(dim: int, out_dim: int) -> nn.Sequential:
    """Two layers; a single score, which a softmax follows, needs no bias."""
    last = nn.Linear(dim // 2, out_dim, bias=out_dim > 1)
    return nn.Sequential(nn.Linear(dim, dim // 2), nn.GELU(), last)


def _view(dim: int, activation: Activation) -> nn.Sequential:
    between = nn.GELU() if activation == "gelu" else nn.ReLU()
    return nn.Sequential(nn.Linear(dim, dim), between, nn.Linear(dim, dim))


def _mixed_up(image: Float[Tensor, "batch patch dim"]) -> Float[Tensor, "batch patch dim"]:
    """Return each map of channels by cells as if its memory held cells by channels."""
    return image.transpose(1, 2).reshape(image.shape)
