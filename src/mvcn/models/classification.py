"""Classifiers of posts as Hugging Face models: encoders, and a network on their tokens."""

import os
from copy import deepcopy
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from mvcn.config import ModelConfig, NetworkConfig
from mvcn.encoders.loading import build_encoder, load_image_encoder, load_text_encoder
from mvcn.encoders.tokens import (
    FrozenTextLayers,
    freeze,
    frozen_image_tokens,
    image_tokens,
    keep_lowest_layers,
    lowest_layers,
    most_tokens,
    reads_text_of,
    text_embeddings,
    text_tokens,
)
from mvcn.errors import ConfigError
from mvcn.files import set_usual_permissions
from mvcn.models.configuration import MvcnConfig
from mvcn.models.image_attributes import (
    NO_PIECE,
    ImageAttributes,
    PublishedAttributes,
    prefer_given,
    with_nearest,
    word_vectors,
)
from mvcn.models.network import MvcnOutput, Tokens
from mvcn.models.registry import system
from mvcn.nn.layers import replace_dropout
from mvcn.nn.unimodal_labels import UnimodalLabelHead
from mvcn.settings import with_values

ALIGNMENT_BYTES = 64
EARLIER_WEIGHTS = {
    r"^network\.annotation\.": "network.unimodal_label_head.",
    r"^image_words\.": "image_attributes.",
    r"^network\.text_asks\.": "network.text_attention.",
    r"^network\.image_asks\.": "network.image_attention.",
    r"^network\.pairs_ask\.": "network.pair_attention.",
}
"""Prefix of a weight's name in an earlier version -> its prefix now."""


class MvcnForClassification(PreTrainedModel):
    """The encoders that a system of `MODELS` reads, and its network on their tokens.

    The model never sees a label; the objective computes losses from its output.
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
        about = system(config.network)
        self.reads = about.reads
        self.image_encoder_is_frozen = config.freeze_image_encoder or "image" not in self.reads
        self.network = about.build(config)
        self.post_init()
        self.text_encoder = (
            text_encoder or build_encoder(config.text_config) if "text" in self.reads else None
        )
        self.image_encoder = (
            image_encoder or build_encoder(config.image_config) if about.reads_image else None
        )
        self.image_attributes = (
            ImageAttributes(**config.image_attributes) if config.image_attributes else None
        )
        replace_dropout(self)
        self._freeze()

    @classmethod
    def from_encoders(
        cls, text_encoder: PreTrainedModel, image_encoder: PreTrainedModel, **settings: Any
    ) -> "MvcnForClassification":
        """Build around loaded encoders; `settings` are fields of `MvcnConfig`."""
        # Copies: a new configuration resets the attention kernels that its parts have chosen.
        config = cls.config_class(
            text_config=deepcopy(text_encoder.config),
            image_config=deepcopy(image_encoder.config),
            **settings,
        )
        return cls(config, text_encoder, image_encoder)

    @classmethod
    def from_pretrained(cls, *arguments: Any, **options: Any) -> Any:
        """Load as Hugging Face does, then align the weights in memory.

        In a file they may lie at any address, and an LSTM rounds differently on unaligned weights.
        """
        options.setdefault("key_mapping", EARLIER_WEIGHTS)
        loaded = super().from_pretrained(*arguments, **options)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        for weight in model.parameters():
            if weight.data_ptr() % ALIGNMENT_BYTES:
                weight.data = weight.data.clone()
        return loaded

    def forward(  # noqa: PLR0913, PLR0917 (one argument for each input)
        self,
        input_ids: Int[Tensor, "batch token"],
        attention_mask: Int[Tensor, "batch token"],
        pixel_values: Float[Tensor, "batch channel height width"] | None = None,
        image_features: Float[Tensor, "batch patch width"] | None = None,
        text_mask: Bool[Tensor, " batch"] | None = None,
        image_mask: Bool[Tensor, " batch"] | None = None,
        text_states: Float[Tensor, "batch token text_width"] | None = None,
        attribute_ids: Int[Tensor, "batch attribute piece"] | None = None,
        output_attentions: bool = False,
    ) -> MvcnOutput:
        """Classify posts, from pixels or from cached features of the frozen image encoder.

        Args:
            input_ids: Word pieces.
            attention_mask: 1 for a word piece, 0 for padding.
            pixel_values: Images from the image processor.
            image_features: `frozen_image_tokens` of the images, in place of pixels.
            text_mask: False for a post without a text, whose word pieces are ignored.
            image_mask: False for a post without an image, whose pixels or features are ignored.
                By default every post has a text and an image.
            text_states: `FrozenTextLayers.states` of the texts, which are not computed again.
            attribute_ids: Word pieces of the image attributes, -1 for padding; for posts without
                any, the model finds them in the image. Ignored by networks that read none.
            output_attentions: Return the text-to-image attention weights and the text tokens'
                shares in the fused feature; equal fusion has none.
        """
        tokens = self.encode(
            input_ids,
            attention_mask,
            pixel_values,
            image_features,
            text_mask,
            image_mask,
            text_states,
            attribute_ids,
        )
        output: MvcnOutput = self.network(tokens, output_attentions)
        return output

    def save_pretrained(self, save_directory: str | os.PathLike[str], **options: Any) -> None:
        """Save as Hugging Face does, with file permissions that follow the umask."""
        super().save_pretrained(save_directory, **options)
        set_usual_permissions(*Path(save_directory).glob("*.safetensors"))

    def encode(
        self,
        input_ids: Int[Tensor, "batch token"],
        attention_mask: Int[Tensor, "batch token"],
        pixel_values: Float[Tensor, "batch channel height width"] | None = None,
        image_features: Float[Tensor, "batch patch width"] | None = None,
        text_mask: Bool[Tensor, " batch"] | None = None,
        image_mask: Bool[Tensor, " batch"] | None = None,
        text_states: Float[Tensor, "batch token text_width"] | None = None,
        attribute_ids: Int[Tensor, "batch attribute piece"] | None = None,
    ) -> Tokens:
        """Return the input of the network; arguments are those of `forward`."""
        has_text, has_image = self._present_modalities(text_mask, image_mask, input_ids)
        pixel_values = _without_missing(pixel_values, image_mask)
        image_features = _without_missing(image_features, image_mask)
        image = self._encode_images(pixel_values, image_features, input_ids)
        image_token_mask = has_image.unsqueeze(1).expand(-1, image.shape[1])
        return Tokens(
            self._encode_texts(input_ids, attention_mask, text_states),
            image,
            attention_mask.bool() & has_text.unsqueeze(1),
            image_token_mask,
            input_ids,
            *self._attributes(image, image_token_mask, attribute_ids),
        )

    def keep_image_tokens(
        self,
        tokens: Tokens,
        kept: Bool[Tensor, "batch patch"],
        attribute_ids: Int[Tensor, "batch attribute piece"] | None = None,
    ) -> Tokens:
        """Return posts with some of their image tokens only, and the attributes found in those.

        Args:
            tokens: Posts from `encode`.
            kept: True for an image token to keep.
            attribute_ids: Those that were given to `encode`.
        """
        mask = tokens.image_mask & kept
        attributes = self._attributes(tokens.image, mask, attribute_ids)
        return Tokens(*tokens[:3], mask, tokens.word_ids, *attributes)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes in the order of the logits."""
        return tuple(self.config.id2label[index] for index in range(self.config.num_labels))

    @property
    def unimodal_label_head(self) -> UnimodalLabelHead | None:
        """The head on pairs of text and image label, where the network has one."""
        return getattr(self.network, "unimodal_label_head", None)

    @cached_property
    def frozen_text_layers(self) -> FrozenTextLayers | None:
        """The frozen lower layers of the text encoder, if there are any."""
        count = self.config.frozen_text_layers
        if not count or self.text_encoder is None:
            return None
        return FrozenTextLayers(self.text_encoder, count)

    def encode_images(
        self, pixel_values: Tensor | None = None, image_features: Tensor | None = None
    ) -> Float[Tensor, "batch patch image_width"]:
        """Return the image encoder's tokens; raises a ValueError without pixels and features."""
        assert self.image_encoder is not None  # of all systems that read images
        if image_features is not None:
            return image_features
        if pixel_values is None:
            raise ValueError(
                "Give pixel_values or image_features; image_mask marks missing images."
            )
        if self.image_encoder_is_frozen:
            return frozen_image_tokens(self.image_encoder, pixel_values)
        return image_tokens(self.image_encoder, pixel_values)

    def reads_text_of(self, length: int) -> bool:
        """Return whether texts of `length` word pieces can be read."""
        return self.text_encoder is None or reads_text_of(self.text_encoder, length)

    def train(self, mode: bool = True) -> "MvcnForClassification":
        """Set the training mode; frozen parts stay in evaluation mode."""
        super().train(mode)
        self._freeze()
        return self

    def _freeze(self) -> None:
        config = self.config
        if self.image_encoder is not None and self.image_encoder_is_frozen:
            freeze(self.image_encoder)
        if self.image_attributes is not None:
            freeze(self.image_attributes)
        if self.text_encoder is None:
            return
        if config.freeze_text_embeddings or config.frozen_text_layers:
            freeze(text_embeddings(self.text_encoder))
        for layer in lowest_layers(self.text_encoder, config.frozen_text_layers):
            freeze(layer)

    def _present_modalities(
        self, text_mask: Tensor | None, image_mask: Tensor | None, input_ids: Tensor
    ) -> tuple[Bool[Tensor, " batch"], Bool[Tensor, " batch"]]:
        """Return which posts have a text and which an image, after modality dropout."""
        everywhere = torch.ones(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)
        has_text = everywhere if text_mask is None else text_mask
        has_image = everywhere if image_mask is None else image_mask
        if not (self.training and self.config.modality_dropout):
            return has_text, has_image
        chance = torch.rand(len(input_ids), device=input_ids.device) / self.config.modality_dropout
        hides_text, hides_image = chance < 1 / 2, (chance >= 1 / 2) & (chance < 1)
        has_both = has_text & has_image
        return has_text & ~(hides_text & has_both), has_image & ~(hides_image & has_both)

    def _encode_images(
        self, pixel_values: Tensor | None, image_features: Tensor | None, input_ids: Tensor
    ) -> Float[Tensor, "batch patch image_width"]:
        if self.image_encoder is None:
            return torch.zeros(input_ids.shape[0], 1, 0, device=self.device)
        return self.encode_images(pixel_values, image_features)

    def _attributes(
        self, image: Tensor, mask: Tensor, given: Tensor | None
    ) -> tuple[
        Float[Tensor, "batch object"],
        Float[Tensor, "object text_width"],
        Float[Tensor, "batch attribute text_width"],
        Bool[Tensor, "batch attribute"],
    ]:
        """Return objects, their names, and attributes: given ones, else the likeliest objects."""
        if self.image_attributes is None or self.text_encoder is None:
            none = image.new_zeros(image.shape[0], 0)
            return none, image.new_zeros(0, 0), none.unsqueeze(1), mask[:, :1]
        objects = self.image_attributes.objects(image, mask)
        pieces = prefer_given(given, self.image_attributes.name_pieces(objects))
        embeddings = self.text_encoder.get_input_embeddings()
        words = word_vectors(pieces, embeddings)
        if "pairs" in self.reads:
            sentiments = word_vectors(self.image_attributes.sentiments, embeddings)
            words = with_nearest(words, sentiments)
        names = word_vectors(self.image_attributes.names, embeddings)
        return objects, names, words, (pieces != NO_PIECE).any(-1)

    def _encode_texts(
        self, input_ids: Tensor, attention_mask: Tensor, states: Tensor | None
    ) -> Float[Tensor, "batch token text_width"]:
        if self.text_encoder is None:
            return torch.zeros(*input_ids.shape, 0, device=input_ids.device)
        if states is None or self.frozen_text_layers is None:
            return text_tokens(self.text_encoder, input_ids, attention_mask)
        return self.frozen_text_layers.tokens(states, input_ids, attention_mask)


def _without_missing(images: Tensor | None, mask: Tensor | None) -> Tensor | None:
    """Return zeros for missing images: NaN would stay NaN even with weight 0."""
    if images is None or mask is None:
        return images
    return images.masked_fill(~mask.view(-1, *[1] * (images.dim() - 1)), 0)


def build_model(
    config: ModelConfig, class_names: tuple[str, ...], *, unimodal_label_head: bool = False
) -> MvcnForClassification:
    """Build a model around its published encoders; torch's generator draws all other weights.

    Args:
        config: Sizes and switches.
        class_names: Classes in the order of the logits.
        unimodal_label_head: Predict the labels of text and image, too.

    Raises:
        ConfigError: An encoder cannot be loaded or reads fewer tokens, sizes are incompatible, or
            there is no such network or option of it.
    """
    about = system(config.network)
    options = with_values(about.options(), config.options, "model.options")
    attributes = PublishedAttributes.load(config.image_encoder, config.text_encoder, about.reads)
    settings = {name: getattr(config, name) for name in NetworkConfig.model_fields}
    model = MvcnForClassification.from_encoders(
        _load_text_encoder(config),
        load_image_encoder(config.image_encoder),
        **settings | {"options": options.model_dump()},
        unimodal_label_head=unimodal_label_head,
        id2label=dict(enumerate(class_names)),
        label2id={name: index for index, name in enumerate(class_names)},
        image_attributes=attributes and attributes.sizes,
    )
    if model.image_attributes is not None and attributes is not None:
        model.image_attributes.fill(attributes)
    return model


def _load_text_encoder(config: ModelConfig) -> PreTrainedModel:
    encoder = load_text_encoder(config.text_encoder)
    if config.text_layers is not None:
        keep_lowest_layers(encoder, config.text_layers)
    if "text" in system(config.network).reads:
        require_tokens(config, most_tokens(partial(reads_text_of, encoder), config.max_tokens))
    return encoder


def require_tokens(config: ModelConfig, most: int) -> None:
    """Raise a ConfigError where `model.max_tokens` is more than the text encoder reads."""
    if config.max_tokens > most:
        raise ConfigError(
            f"Setting 'model.max_tokens' is {config.max_tokens}, but text encoder "
            f"'{config.text_encoder}' reads at most {most}: give --set model.max_tokens={most}."
        )
