"""What goes into the network of a classifier, and what comes out."""

from dataclasses import dataclass
from typing import NamedTuple

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers.utils import ModelOutput


class Tokens(NamedTuple):
    """What the encoders make of a batch of posts, and what of it is there.

    What a system does not read has width 0.
    """

    text: Float[Tensor, "batch token text_width"]
    image: Float[Tensor, "batch patch image_width"]
    text_mask: Bool[Tensor, "batch token"]
    """False for padding, and for all word pieces of a post without a text."""
    image_mask: Bool[Tensor, "batch patch"]
    """False for all patches of a post without an image."""
    word_ids: Int[Tensor, "batch token"]
    """Word pieces of the text, as numbers."""
    objects: Float[Tensor, "batch object"]
    """Probability of each object that the image encoder was trained to name; zeros for no image."""
    object_names: Float[Tensor, "object text_width"]
    """What the objects are called, as vectors."""
    attributes: Float[Tensor, "batch attribute text_width"]
    """Words for what is in the image, or pairs of a sentiment and such a word, as vectors."""
    attribute_mask: Bool[Tensor, "batch attribute"]
    """False where a post has fewer."""


@dataclass
class MvcnOutput(ModelOutput):
    """What a classifier says of a batch of posts."""

    logits: Float[Tensor, "batch classes"] | None = None
    """Of the post: those of the fused feature, combined with those of the unimodal-label head."""
    fused_feature: Float[Tensor, "batch dim"] | None = None
    """z of the paper, what the semantic congruity constraint pulls together."""
    fused_logits: Float[Tensor, "batch classes"] | None = None
    """Of the fused feature alone."""
    pair_logits: Float[Tensor, "batch classes classes"] | None = None
    """Of each pair of text label and image label, with a unimodal-label head."""
    fusion_attentions: tuple[Float[Tensor, "batch head token patch"], ...] | None = None
    """Text-to-image attention weights of each text-guided unit, where asked for."""
    token_weights: Float[Tensor, "batch token"] | None = None
    """Share of each text token in the fused feature, where attentions are asked for."""
    views: Float[Tensor, "view batch dim"] | None = None
    """Two views of each post, in training, from networks that learn by contrast."""
    penalty: Float[Tensor, ""] | None = None
    """What the network's own weights cost, in training, for networks that constrain them."""


class Network(nn.Module):
    """What all networks have in common: see `mvcn.models.registry` for what there is."""

    feature_size: int
    """Width of the fused feature."""

    def forward(self, tokens: Tokens, output_attentions: bool = False) -> MvcnOutput:
        """Classify posts; `output_attentions` asks for attention weights, where there are any."""
        raise NotImplementedError


def probabilities(
    logits: Float[Tensor, "batch classes"], temperature: float = 1.0
) -> Float[Tensor, "batch classes"]:
    """Return class probabilities in double precision, the same for training and serving."""
    return (logits.double() / temperature).softmax(-1)
