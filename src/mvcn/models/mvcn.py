"""MVCN: text-guided fusion of token features, reduction to one vector, classifier."""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mvcn.models.network import MvcnOutput, Network, Tokens
from mvcn.nn.fusion import EqualFusion, TextGuidedFusion
from mvcn.nn.pooling import ReductionUnit
from mvcn.nn.unimodal_labels import UnimodalLabelHead
from mvcn.types import AttentionKind, FusionKind


class MultiViewNetwork(Network):
    """The network of MVCN.

    Args:
        text_width: Width of the text encoder's tokens.
        image_width: Width of the image encoder's tokens.
        num_classes: Classes K.
        hidden_size: Width d of the common space of both.
        feedforward_size: Inner width of the feed-forward layers of each text-guided unit.
        num_heads: Attention heads of each unit.
        num_fusion_layers: Stacked units L.
        fusion: Text tokens attend to image tokens, or all tokens to each other.
        attention: Normalisation of the text-to-image attention.
        dropout: Dropout of fusion and classifier.
        unimodal_label_head: Also predict the pair of text label and image label.

    Source:
        Wei et al., ACL 2023 (2023.acl-long.287). We did not have the paper: sizes are ours, in the
        recipes, and image tokens are all those of the image encoder. Deviation: the paper's posts
        have both modalities; here a post without an image attends to nothing, and one without a
        text attends to its image from one learned token.
    """

    def __init__(  # noqa: PLR0913 (one argument for each size of the network)
        self,
        text_width: int,
        image_width: int,
        num_classes: int,
        *,
        hidden_size: int,
        feedforward_size: int,
        num_heads: int,
        num_fusion_layers: int,
        fusion: FusionKind,
        attention: AttentionKind,
        dropout: float,
        unimodal_label_head: bool,
    ) -> None:
        super().__init__()
        self.feature_size = hidden_size
        sizes = (num_fusion_layers, hidden_size, num_heads, feedforward_size, dropout)
        self.text_projection = _projection(text_width, hidden_size)
        self.image_projection = _projection(image_width, hidden_size)
        self.fusion = (
            EqualFusion(*sizes) if fusion == "equal" else TextGuidedFusion(*sizes, attention)
        )
        self.reduction = ReductionUnit(hidden_size, dropout=dropout)
        self.classifier = nn.Linear(hidden_size, num_classes)
        self.unimodal_label_head = (
            UnimodalLabelHead(hidden_size, num_classes, dropout) if unimodal_label_head else None
        )
        self.missing_text = nn.Parameter(torch.zeros(hidden_size))

    def reset_parameters(self) -> None:
        """Set the token of a missing text to zeros."""
        nn.init.zeros_(self.missing_text)

    def forward(self, tokens: Tokens, output_attentions: bool = False) -> MvcnOutput:
        """Classify posts; `output_attentions` returns the weights of the text-guided units."""
        text, image = self.text_projection(tokens.text), self.image_projection(tokens.image)
        fused, weights = self._fuse(text, image, tokens, output_attentions)
        logits = self.classifier(fused)
        if self.unimodal_label_head is None:
            return MvcnOutput(logits, fused, logits, **weights)
        pair_logits = self.unimodal_label_head(
            text, image, fused, tokens.text_mask, tokens.image_mask
        )
        # The geometric mean of the two: a product would count what they share twice.
        combined = (logits.log_softmax(-1) + self.unimodal_label_head.merge(pair_logits)) / 2
        return MvcnOutput(combined, fused, logits, pair_logits, **weights)

    def _fuse(
        self,
        text: Float[Tensor, "batch token dim"],
        image: Float[Tensor, "batch patch dim"],
        tokens: Tokens,
        output_attentions: bool,
    ) -> tuple[Float[Tensor, "batch dim"], dict[str, Any]]:
        """Return the fused feature and, if requested, the weights of text-guided fusion."""
        query, query_mask = self._query(text, tokens.text_mask)
        pair = (query, image, query_mask, tokens.image_mask)
        if isinstance(self.fusion, EqualFusion):
            return self.reduction(*self.fusion(*pair)), {}
        guided, attentions = self.fusion(*pair, return_weights=output_attentions)
        fused = self.reduction(guided, query_mask)
        if not output_attentions:
            return fused, {}
        shares = self.reduction.weights(guided, query_mask)
        return fused, {"fusion_attentions": attentions, "token_weights": shares}

    def _query(
        self, text: Float[Tensor, "batch token dim"], text_mask: Bool[Tensor, "batch token"]
    ) -> tuple[Float[Tensor, "batch token dim"], Bool[Tensor, "batch token"]]:
        """Return the tokens that attend to the image, one learned token for a missing text."""
        has_text = text_mask.any(1)
        is_first = torch.arange(text.shape[1], device=text.device) == 0
        query = text.where(has_text[:, None, None], self.missing_text.to(text.dtype))
        return query, text_mask | (is_first & ~has_text.unsqueeze(1))


def _projection(in_features: int, out_features: int) -> nn.Sequential:
    """Normalise and project, without a scale and shift, which the projection includes.

    Frozen image features then need no gradient, which saves a third of this layer's work.
    """
    norm = nn.LayerNorm(in_features, elementwise_affine=False)
    return nn.Sequential(norm, nn.Linear(in_features, out_features))
