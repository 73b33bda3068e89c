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
    """Self-attention over text and image tokens in one sequence, then attention pooling.

    In training it also returns two projected views of each post, the second with some of its
    tokens dropped, for `mvcn.losses.contrast`.

    Args:
        text_width: Width of the text encoder's tokens.
        image_width: Width of the image encoder's tokens.
        num_classes: Classes K.
        hidden_size: Width of the transformers.
        feedforward_size: Inner width of their feed-forward layers.
        num_heads: Attention heads.
        num_fusion_layers: Layers of the fusion, after one layer for the image alone.
        dropout: Dropout of the layers and the classifier.
        faithful: Read a feature map as if its memory were channels last, as the authors' code does.
        augmentation: Share of the tokens that are dropped for the second view.
        view_activation: Between the two layers that project each view; gelu in the authors' code.
        attention_dropout: Share of attention weights dropped; 0.1 in the authors' code.

    Source:
        Li et al., Findings of NAACL 2022, and the authors' code.  Deviations: fewer and narrower
        layers by default; the second view drops tokens, where the authors back-translate the text
        and distort the image; no added mean token of the image; one logit per class on all data,
        where the authors have three logits for the two classes of HFM.  Deviations of the measured
        forms, `faithful` or not: ReLU in both projection heads of the views, where the authors have
        GELU (``view_activation: gelu``), and no dropout of attention weights, where they have 0.1
        (``attention_dropout: 0.1``), so that the layers are those of MFS. Deviation of all forms:
        the text encoder learns from the first step, where the authors freeze it for 20 epochs and
        then train everything for another 30, which would not fit into the few epochs of all systems
        here.
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
        image = self.image_projection(
            _as_if_channels_last(tokens.image) if self.faithful else tokens.image
        )
        feature = self._fuse(text, image, tokens.text_mask, tokens.image_mask)
        logits = self.classifier(feature)
        output = MvcnOutput(logits, feature, logits)
        if self.training:
            masks = [self._drop_tokens(mask) for mask in (tokens.text_mask, tokens.image_mask)]
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
        image, _ = self.image_layer(text[:, :0], image, text_mask[:, :0], image_mask)
        both, mask = self.fusion(text, image, text_mask, image_mask)
        return weighted_sum(both, self.score(both).squeeze(-1), mask)

    def _drop_tokens(self, mask: Bool[Tensor, "batch token"]) -> Bool[Tensor, "batch token"]:
        """Drop tokens at random, but never all tokens of a post."""
        kept = mask & (torch.rand(mask.shape, device=mask.device) >= self.augmentation)
        return torch.where(kept.any(1, keepdim=True), kept, mask)


def _projection(width: int, hidden_size: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden_size), nn.GELU())


def _two_layers(dim: int, out_dim: int) -> nn.Sequential:
    """Return two layers; a single score before a softmax needs no bias."""
    last = nn.Linear(dim // 2, out_dim, bias=out_dim > 1)
    return nn.Sequential(nn.Linear(dim, dim // 2), nn.GELU(), last)


def _view(dim: int, activation: Activation) -> nn.Sequential:
    function = nn.GELU() if activation == "gelu" else nn.ReLU()
    return nn.Sequential(nn.Linear(dim, dim), function, nn.Linear(dim, dim))


def _as_if_channels_last(
    image: Float[Tensor, "batch patch dim"],
) -> Float[Tensor, "batch patch dim"]:
    """Reinterpret the memory of a channels-first feature map as channels last."""
    return image.transpose(1, 2).reshape(image.shape)
