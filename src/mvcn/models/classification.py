"""Classifiers of posts as Hugging Face models: encoders, and a network on their tokens."""

import os
from collections.abc import Sequence
from copy import deepcopy
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel
from transformers import initialization as init

from mvcn.encoders.loading import build_encoder
from mvcn.encoders.tokens import (
    FrozenTextEncoder,
    FrozenTextLayers,
    freeze,
    frozen_image_tokens,
    image_tokens,
    lowest_layers,
    most_tokens,
    reads_text_of,
    text_embeddings,
    text_tokens,
    tokens_of_shown,
)
from mvcn.files import set_usual_permissions
from mvcn.models.configuration import MvcnConfig
from mvcn.models.ensemble import (
    build_network,
    copies_sharing,
    drop_shared,
    join_tokens,
    split_tokens,
)
from mvcn.models.image_attributes import ImageAttributes, prefer_given, with_nearest, word_vectors
from mvcn.models.network import MvcnOutput, Tokens
from mvcn.models.registry import system
from mvcn.nn.layers import replace_dropout
from mvcn.nn.unimodal_labels import UnimodalLabelHead
from mvcn.types import NO_PIECE

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
        self.image_encoder_is_frozen = about.freezes_image_encoder(config)
        self.own_fields = about.own_fields(config)
        self.network = build_network(about, config)
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
        self._copy_encoders()
        self.register_state_dict_post_hook(drop_shared)
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
        image = self._encode_images(pixel_values, image_features, image_mask, input_ids)
        text = self.encode_texts(input_ids, attention_mask, text_states)
        text, image = text.to(self.dtype), image.to(self.dtype)
        none = image.new_zeros(image.shape[0], 0)
        tokens = Tokens(
            text,
            image,
            attention_mask.bool() & has_text.unsqueeze(1),
            has_image.unsqueeze(1).expand(-1, image.shape[1]),
            input_ids,
            *(none, image.new_zeros(0, 0), none.unsqueeze(1), has_image.unsqueeze(1)),
        )
        return self._with_attributes(tokens, attribute_ids)

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
        tokens = tokens._replace(image_mask=tokens.image_mask & kept)
        return self._with_attributes(tokens, attribute_ids)

    def trained_weights(self) -> dict[str, Tensor]:
        """Return the weights that training changes, which make one member of an ensemble."""
        trained = {name for name, weight in self.named_parameters() if weight.requires_grad}
        homes = ("network.",) if self.image_encoder_is_frozen else ("network.", "image_encoder.")
        weights = self.state_dict()
        return {n: w for n, w in weights.items() if n in trained or n.startswith(homes)}

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes in the order of the logits."""
        return tuple(self.config.id2label[index] for index in range(self.config.num_labels))

    @property
    def unimodal_label_head(self) -> UnimodalLabelHead | None:
        """The head on pairs of text and image label, where the network has one."""
        return getattr(self.network, "unimodal_label_head", None)

    @property
    def text_encoders(self) -> list[PreTrainedModel]:
        """The text encoders: one if it is frozen, else that of each member."""
        return [] if self.text_encoder is None else [self.text_encoder, *self.member_text_encoders]

    @property
    def image_encoders(self) -> list[PreTrainedModel]:
        """The image encoders: one if it is frozen, else that of each member."""
        first = self.image_encoder
        return [] if first is None else [first, *self.member_image_encoders]

    @property
    def frozen_text_layers(self) -> FrozenTextEncoder | FrozenTextLayers | None:
        """The frozen text encoder, or its frozen lower layers, if there are any."""
        return next(iter(self._frozen_text_layers), None)

    @cached_property
    def _frozen_text_layers(self) -> Sequence[FrozenTextEncoder | FrozenTextLayers]:
        count, lower = self.config.frozen_text_layers, self.config.lower_text_layers
        if self.config.text_encoder_is_frozen:
            return [FrozenTextEncoder(encoder, lower) for encoder in self.text_encoders]
        return [FrozenTextLayers(encoder, count, lower) for encoder in self.text_encoders if count]

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
        each = [image_tokens(encoder, pixel_values) for encoder in self.image_encoders]
        return each[0] if len(each) == 1 else torch.cat(each, -1)

    def most_tokens(self, limit: int) -> int:
        """Return the word pieces of the longest text that can be read, up to `limit`."""
        encoder = self.text_encoder
        return limit if encoder is None else most_tokens(partial(reads_text_of, encoder), limit)

    def _init_weights(self, module: nn.Module) -> None:
        """Draw linear layers by their width, as PyTorch does; Transformers draws all by 0.02."""
        super()._init_weights(module)
        if isinstance(module, nn.Linear):
            init.kaiming_uniform_(module.weight, a=5**0.5)

    def train(self, mode: bool = True) -> "MvcnForClassification":
        """Set the training mode; frozen parts stay in evaluation mode."""
        if mode != self.training:  # the Trainer sets it before each step, and there are many parts
            super().train(mode)
            self._freeze()
        return self

    def _freeze(self) -> None:
        if self.image_encoder is not None and self.image_encoder_is_frozen:
            freeze(self.image_encoder)
        if self.image_attributes is not None:
            freeze(self.image_attributes)
        for encoder in self.text_encoders:
            for part in self._frozen_text_parts(encoder):
                freeze(part)

    def _frozen_text_parts(self, encoder: PreTrainedModel) -> list[nn.Module]:
        if self.config.text_encoder_is_frozen:
            return [encoder]
        count = self.config.frozen_text_layers
        has_embeddings = self.config.freeze_text_embeddings or count > 0
        embeddings = [text_embeddings(encoder)] if has_embeddings else []
        return [*embeddings, *lowest_layers(encoder, count)]

    def _copy_encoders(self) -> None:
        """Give each member but the first its own text encoder, and an image encoder if trained."""
        more, text, image = self.config.members - 1, self.text_encoder, self.image_encoder
        texts = text if "text" in self.own_fields and more else None
        images = image if "image" in self.own_fields else None
        frozen = [] if texts is None else self._frozen_text_parts(texts)
        self.member_text_encoders = nn.ModuleList(copies_sharing(texts, frozen, more))
        self.member_image_encoders = nn.ModuleList(copies_sharing(images, [], more))

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
        self, pixels: Tensor | None, features: Tensor | None, mask: Tensor | None, ids: Tensor
    ) -> Float[Tensor, "batch patch image_width"]:
        if self.image_encoder is None:
            return torch.zeros(ids.shape[0], 1, 0, device=self.device)
        if features is not None or pixels is None or mask is None or torch.compiler.is_compiling():
            return self.encode_images(pixels, features)
        return tokens_of_shown(self.encode_images, pixels, mask)

    def _with_attributes(self, tokens: Tokens, given: Tensor | None) -> Tokens:
        """Set objects, their names, and attributes: given ones, else the likeliest objects."""
        if self.image_attributes is None:
            return tokens
        parts = split_tokens(tokens, self.config.members, self.own_fields)
        encoders = [*self.text_encoders, *self.text_encoders[:1] * (len(parts) - 1)]
        read = [
            part._replace(**self._attributes(part, given, encoder.get_input_embeddings()))
            for part, encoder in zip(parts, encoders, strict=False)
        ]
        return join_tokens(read, self.own_fields)

    def _attributes(
        self, tokens: Tokens, given: Tensor | None, embeddings: nn.Module
    ) -> dict[str, Tensor]:
        assert self.image_attributes is not None  # its caller has checked that
        objects = self.image_attributes.objects(tokens.image, tokens.image_mask)
        pieces = prefer_given(given, self.image_attributes.name_pieces(objects))
        words = word_vectors(pieces, embeddings)
        if "pairs" in self.reads:
            sentiments = word_vectors(self.image_attributes.sentiments, embeddings)
            words = with_nearest(words, sentiments)
        return {
            "objects": objects,
            "object_names": word_vectors(self.image_attributes.names, embeddings),
            "attributes": words,
            "attribute_mask": (pieces != NO_PIECE).any(-1),
        }

    def encode_texts(
        self, input_ids: Tensor, attention_mask: Tensor, states: Tensor | None = None
    ) -> Float[Tensor, "batch token text_width"]:
        """Return the tokens of texts, those of all members next to each other.

        Args:
            input_ids: Word pieces.
            attention_mask: 1 for a word piece, 0 for padding.
            states: As `text_states` of `forward`.
        """
        if self.text_encoder is None:
            return torch.zeros(*input_ids.shape, 0, device=input_ids.device)
        held = self.frozen_text_layers
        is_shared = self.config.members > 1 or self.config.text_encoder_is_frozen
        if states is None and held is not None and is_shared and held.are_constant:
            states = held.states(input_ids, attention_mask)
        if states is None or held is None:
            below = self.config.lower_text_layers
            each = [text_tokens(e, input_ids, attention_mask, below) for e in self.text_encoders]
        else:
            upper = self._frozen_text_layers
            each = [one.tokens(states, input_ids, attention_mask) for one in upper]
        return each[0] if len(each) == 1 else torch.cat(each, -1)


def _without_missing(images: Tensor | None, mask: Tensor | None) -> Tensor | None:
    """Return zeros for missing images: NaN would stay NaN even with weight 0."""
    if images is None or mask is None:
        return images
    return images.masked_fill(~mask.view(-1, *[1] * (images.dim() - 1)), 0)


AutoConfig.register(MvcnConfig.model_type, MvcnConfig)
AutoModelForSequenceClassification.register(MvcnConfig, MvcnForClassification)
