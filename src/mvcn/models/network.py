"""Input and output of the networks, and their base class."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers.utils import ModelOutput


class Tokens(NamedTuple):
    """Encoded posts of a batch, with masks; what a system does not read has width 0."""

    text: Float[Tensor, "batch token text_width"]
    image: Float[Tensor, "batch patch image_width"]
    text_mask: Bool[Tensor, "batch token"]
    """False for padding, and for all word pieces of a post without a text."""
    image_mask: Bool[Tensor, "batch patch"]
    """False for all patches of a post without an image."""
    word_ids: Int[Tensor, "batch token"]
    """Word pieces of the text, as numbers; numbered by `WORD_NUMBERS` for n-grams."""
    objects: Float[Tensor, "batch object"]
    """Probability of each class of the published image encoder; zeros without an image."""
    object_names: Float[Tensor, "object text_width"]
    """Vectors of the names of the objects."""
    attributes: Float[Tensor, "batch attribute text_width"]
    """Vectors of words for what is in the image, or of pairs of a sentiment and such a word."""
    attribute_mask: Bool[Tensor, "batch attribute"]
    """False for padding."""


@dataclass
class MvcnOutput(ModelOutput):
    """Output of a classifier for a batch of posts."""

    loss: Float[Tensor, ""] | None = field(default=None, kw_only=True)
    """Mean cross-entropy of the logits, if labels are given; not the objective of a training."""
    logits: Float[Tensor, "batch classes"] | None = None
    """Combined logits: those of the fused feature and of the unimodal-label head, if any."""
    fused_feature: Float[Tensor, "batch dim"] | None = None
    """z of the paper, which the semantic congruity constraint acts on."""
    fused_logits: Float[Tensor, "batch classes"] | None = None
    """Logits of the fused feature alone."""
    pair_logits: Float[Tensor, "batch classes classes"] | None = None
    """Logits of each pair of text label and image label, from a unimodal-label head."""
    fusion_attentions: tuple[Float[Tensor, "batch head token patch"], ...] | None = None
    """Text-to-image attention weights of each text-guided unit, if requested."""
    token_weights: Float[Tensor, "batch token"] | None = None
    """Share of each text token in the fused feature, if attentions are requested."""
    views: Float[Tensor, "view batch dim"] | None = None
    """Two views of each post for contrastive losses, in training, from networks that have them."""
    penalty: Float[Tensor, ""] | None = None
    """Penalty on the network's own weights, in training, from networks that have one."""
    disagreement: Float[Tensor, " batch"] | None = None
    """Standard deviation of the predicted class's probability over the members of an ensemble."""
    hidden_states: tuple[Float[Tensor, "batch ..."], ...] | None = None
    """What the network reads of the text encoder and of the image encoder, if requested, each
    ``(batch, token, width)``."""

    def __post_init__(self) -> None:
        """Take the parts from a mapping in place of the first argument, as each `ModelOutput`."""
        parts: Any = self.logits
        if isinstance(parts, Mapping):
            self.logits = None
            OrderedDict.__delitem__(self, "logits")  # or it would be the first part
            for name, value in parts.items():
                setattr(self, name, value)
        super().__post_init__()


class Network(nn.Module):
    """Base class of all networks, which `mvcn.models.registry` lists."""

    feature_size: int
    """Width of the fused feature."""

    def forward(self, tokens: Tokens, output_attentions: bool = False) -> MvcnOutput:
        """Classify posts; `output_attentions` requests attention weights, if there are any."""
        raise NotImplementedError


def probabilities(
    logits: Float[Tensor, "batch classes"],
    temperature: float = 1.0,
    offsets: Sequence[float] | None = None,
) -> Float[Tensor, "batch classes"]:
    """Return class probabilities in double precision, for training and serving alike.

    Args:
        logits: Of the model.
        temperature: `MvcnConfig.temperature`.
        offsets: `MvcnConfig.logit_offsets`.
    """
    scaled = logits.double() / temperature
    return (scaled if offsets is None else scaled + scaled.new_tensor(offsets)).softmax(-1)
