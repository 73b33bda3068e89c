"""MVCN as a Hugging Face model: encoders, text-guided fusion, reduction, classifier.

The model never sees a label; what is done with its output is the objective's business.
"""

from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Any, no_type_check

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.configuration_utils import SubConfigSpec
from transformers.utils import ModelOutput

from mvcn.config import AttentionKind, FusionKind
from mvcn.encoders.frozen_text import FrozenTextLayers
from mvcn.encoders.loading import build_encoder
from mvcn.encoders.tokens import (
    freeze,
    frozen_image_tokens,
    image_tokens,
    lowest_layers,
    text_embeddings,
    text_tokens,
    token_width,
)
from mvcn.nn.annotations import AnnotationHead
from mvcn.nn.fusion import EqualFusion, TextGuidedFusion
from mvcn.nn.reduction import ReductionUnit


@no_type_check  # Hugging Face makes its constructor take keywords that it does not declare
class MvcnConfig(PreTrainedConfig):
    """Sizes and switches of the network; see `mvcn.config.ModelConfig` for where they come from."""

    model_type = "mvcn"
    sub_configs_defaults = {  # noqa: RUF012 (a class variable of the base class)
        "text_config": SubConfigSpec(config_class=AutoConfig, model_type="bert"),
        "image_config": SubConfigSpec(config_class=AutoConfig, model_type="vit"),
    }
    keys_to_ignore_at_inference = [  # noqa: RUF012
        "fused_feature",
        "fused_logits",
        "pair_logits",
        "fusion_attentions",
    ]

    text_config: PreTrainedConfig | dict[str, Any] | None = None
    image_config: PreTrainedConfig | dict[str, Any] | None = None
    hidden_size: int = 384
    feedforward_size: int = 768
    num_heads: int = 6
    num_fusion_layers: int = 1
    fusion: FusionKind = "text-guided"
    attention: AttentionKind = "sparsemax"
    dropout: float = 0.1
    frozen_text_layers: int = 0
    freeze_text_embeddings: bool = False
    freeze_image_encoder: bool = True
    annotation_head: bool = False
    modality_dropout: float = 0.0


@dataclass
class MvcnOutput(ModelOutput):
    """What the model says of a batch of posts."""

    logits: Float[Tensor, "batch classes"] | None = None
    """The verdict on the post."""
    fused_feature: Float[Tensor, "batch dim"] | None = None
    """z of the paper, what the semantic congruity constraint pulls together."""
    fused_logits: Float[Tensor, "batch classes"] | None = None
    """Of the fused feature alone; with an annotation head the verdict has another part, too."""
    pair_logits: Float[Tensor, "batch classes classes"] | None = None
    """Of each pair of text label and image label, with an annotation head."""
    fusion_attentions: tuple[Float[Tensor, "batch head token patch"], ...] | None = None
    """Text-to-image attention weights of each text-guided unit, where asked for."""


class MvcnForClassification(PreTrainedModel):
    """Multi-View Calibration Network: text-guided fusion of token features, and a classifier.

    Source:
        Wei et al., ACL 2023 (2023.acl-long.287). Its sizes are not public; ours are in the recipes.
        Deviation: which image tokens the authors used is not known to us; ours are the patches of
        the image encoder. The paper's posts have both; here a post without an image attends to
        nothing, and one without a text looks at its image with one learned token.
    """

    config_class = MvcnConfig
    main_input_name = "input_ids"
    input_modalities = ("image", "text")
    accepts_loss_kwargs = False
    """The Trainer divides the loss by the accumulation steps itself."""
    supports_gradient_checkpointing = True

    def __init__(
        self,
        config: MvcnConfig,
        text_encoder: PreTrainedModel | None = None,
        image_encoder: PreTrainedModel | None = None,
    ) -> None:
        super().__init__(config)
        self.text_projection = _projection(token_width(config.text_config), config.hidden_size)
        self.image_projection = _projection(token_width(config.image_config), config.hidden_size)
        self.fusion = _fusion(config)
        self.reduction = ReductionUnit(config.hidden_size, dropout=config.dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.annotation = (
            AnnotationHead(config.hidden_size, config.num_labels, config.dropout)
            if config.annotation_head
            else None
        )
        self.missing_text = nn.Parameter(torch.zeros(config.hidden_size))
        self.post_init()
        self.text_encoder = text_encoder or build_encoder(config.text_config)
        self.image_encoder = image_encoder or build_encoder(config.image_config)
        self._freeze()

    @classmethod
    def from_encoders(
        cls, text_encoder: PreTrainedModel, image_encoder: PreTrainedModel, **settings: Any
    ) -> "MvcnForClassification":
        """Build around encoders that keep their weights; `settings` are fields of `MvcnConfig`."""
        # Copies: a configuration resets its parts' choice of attention kernel when it is made.
        config = cls.config_class(
            text_config=deepcopy(text_encoder.config),
            image_config=deepcopy(image_encoder.config),
            **settings,
        )
        return cls(config, text_encoder, image_encoder)

    def forward(
        self,
        input_ids: Int[Tensor, "batch token"],
        attention_mask: Int[Tensor, "batch token"],
        pixel_values: Float[Tensor, "batch channel height width"] | None = None,
        image_features: Float[Tensor, "batch patch width"] | None = None,
        text_mask: Bool[Tensor, " batch"] | None = None,
        image_mask: Bool[Tensor, " batch"] | None = None,
        text_states: Float[Tensor, "batch token text_width"] | None = None,
        output_attentions: bool = False,
    ) -> MvcnOutput:
        """Classify posts, from pixels or from the frozen image encoder's cached features.

        Args:
            input_ids: Word pieces.
            attention_mask: 1 for a word piece, 0 for padding.
            pixel_values: Images as the image processor makes them.
            image_features: `frozen_image_tokens` of the images, in place of the pixels.
            text_mask: False for a post without a text, whose word pieces are ignored.
            image_mask: False for a post without an image, whose pixels or features are ignored.
                By default every post has a text and an image.
            text_states: `FrozenTextLayers.states` of the texts, which then are not run again.
            output_attentions: Return the text-to-image attention weights; equal fusion has none.
        """
        has_text, has_image = self._present(text_mask, image_mask, input_ids)
        token_mask = attention_mask.bool()
        text = self.text_projection(self._encode_texts(input_ids, attention_mask, text_states))
        image = self.image_projection(self.encode_images(pixel_values, image_features))
        query, query_mask = self._query(text, token_mask, has_text)
        image_mask = has_image.unsqueeze(1).expand(-1, image.shape[1])
        tokens = (query, image, query_mask, image_mask)
        if isinstance(self.fusion, EqualFusion):
            attentions = ()
            fused = self.reduction(*self.fusion(*tokens))
        else:
            guided, attentions = self.fusion(*tokens, return_weights=output_attentions)
            fused = self.reduction(guided, query_mask)
        logits = self.classifier(fused)
        if self.annotation is None:
            return MvcnOutput(logits, fused, logits, fusion_attentions=attentions or None)
        text_mask = token_mask & has_text.unsqueeze(1)
        pair_logits = self.annotation(text, image, fused, text_mask, image_mask)
        # The geometric mean of the two: a product would count what they share twice over.
        verdict = (logits.log_softmax(-1) + self.annotation.merge(pair_logits)) / 2
        return MvcnOutput(verdict, fused, logits, pair_logits, attentions or None)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes in the order of the logits."""
        return tuple(self.config.id2label[index] for index in range(self.config.num_labels))

    @cached_property
    def frozen_text_layers(self) -> FrozenTextLayers | None:
        """The frozen lower layers of the text encoder, if there are any."""
        count = self.config.frozen_text_layers
        return FrozenTextLayers(self.text_encoder, count) if count else None

    def encode_images(
        self, pixel_values: Tensor | None = None, image_features: Tensor | None = None
    ) -> Float[Tensor, "batch patch image_width"]:
        """Return the image encoder's tokens; raises a ValueError without pixels and features."""
        if image_features is not None:
            return image_features
        if pixel_values is None:
            raise ValueError(
                "Give pixel_values or image_features; image_mask marks missing images."
            )
        if self.config.freeze_image_encoder:
            return frozen_image_tokens(self.image_encoder, pixel_values)
        return image_tokens(self.image_encoder, pixel_values)

    def train(self, mode: bool = True) -> "MvcnForClassification":
        """Switch dropout on or off; frozen parts stay as they are when used."""
        super().train(mode)
        self._freeze()
        return self

    def _freeze(self) -> None:
        config = self.config
        if config.freeze_image_encoder:
            freeze(self.image_encoder)
        if config.freeze_text_embeddings or config.frozen_text_layers:
            freeze(text_embeddings(self.text_encoder))
        for layer in lowest_layers(self.text_encoder, config.frozen_text_layers):
            freeze(layer)

    def _present(
        self, text_mask: Tensor | None, image_mask: Tensor | None, input_ids: Tensor
    ) -> tuple[Bool[Tensor, " batch"], Bool[Tensor, " batch"]]:
        """Return which posts have a text and which an image, less what modality dropout hides."""
        everywhere = torch.ones(len(input_ids), dtype=torch.bool, device=input_ids.device)
        has_text = everywhere if text_mask is None else text_mask
        has_image = everywhere if image_mask is None else image_mask
        if not (self.training and self.config.modality_dropout):
            return has_text, has_image
        chance = torch.rand(len(input_ids), device=input_ids.device) / self.config.modality_dropout
        hides_text, hides_image = chance < 1 / 2, (chance >= 1 / 2) & (chance < 1)
        has_both = has_text & has_image
        return has_text & ~(hides_text & has_both), has_image & ~(hides_image & has_both)

    def _query(
        self,
        text: Float[Tensor, "batch token dim"],
        token_mask: Bool[Tensor, "batch token"],
        has_text: Bool[Tensor, " batch"],
    ) -> tuple[Float[Tensor, "batch token dim"], Bool[Tensor, "batch token"]]:
        """Return the tokens that look at the image; one that stands for a text that is lacking."""
        is_first = torch.arange(text.shape[1], device=text.device) == 0
        query = text.where(has_text[:, None, None], self.missing_text.to(text.dtype))
        return query, token_mask.where(has_text.unsqueeze(1), is_first)

    def _encode_texts(
        self, input_ids: Tensor, attention_mask: Tensor, states: Tensor | None
    ) -> Float[Tensor, "batch token text_width"]:
        if states is None or self.frozen_text_layers is None:
            return text_tokens(self.text_encoder, input_ids, attention_mask)
        return self.frozen_text_layers.tokens(states, input_ids, attention_mask)


def _fusion(config: MvcnConfig) -> TextGuidedFusion | EqualFusion:
    sizes: tuple[int, int, int, int, float] = (
        config.num_fusion_layers,
        config.hidden_size,
        config.num_heads,
        config.feedforward_size,
        config.dropout,
    )
    if config.fusion == "equal":
        return EqualFusion(*sizes)
    return TextGuidedFusion(*sizes, config.attention)


def _projection(in_features: int, out_features: int) -> nn.Sequential:
    """Normalise and project; a scale and shift in between would only repeat the projection's own.

    Without them, frozen image features need no gradient, which saves a third of this layer's work.
    """
    norm = nn.LayerNorm(in_features, elementwise_affine=False)
    return nn.Sequential(norm, nn.Linear(in_features, out_features))


def probabilities(logits: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch classes"]:
    """Return class probabilities in double precision, the same for training and serving."""
    return logits.double().softmax(-1)
