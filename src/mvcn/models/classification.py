"""Classifiers of posts as Hugging Face models: encoders, and a network on their tokens."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModel, AutoModelForSequenceClassification, PreTrainedModel
from transformers.utils import can_return_tuple

from mvcn.encoders.images import tokens_of_shown
from mvcn.encoders.loading import build_encoder
from mvcn.encoders.tokens import some_word
from mvcn.models.configuration import MvcnConfig
from mvcn.models.ensemble import build_network, drop_shared, join_tokens, split_tokens
from mvcn.models.image_attributes import ImageAttributes, prefer_given, with_nearest, word_vectors
from mvcn.models.network import MvcnOutput, Tokens
from mvcn.models.pretrained import MvcnPreTrainedModel
from mvcn.models.registry import system_of
from mvcn.nn.layers import replace_dropout
from mvcn.nn.unimodal_labels import UnimodalLabelHead
from mvcn.types import NO_PIECE


class MvcnForClassification(MvcnPreTrainedModel):
    """The encoders that a system of `MODELS` reads, and its network on their tokens.

    Networks never see a label; the objective of a training computes its loss from the output.
    """

    accepts_loss_kwargs = False
    """The Trainer divides the loss by the accumulation steps itself."""

    def __init__(
        self,
        config: MvcnConfig,
        text_encoder: PreTrainedModel | None = None,
        image_encoder: PreTrainedModel | None = None,
    ) -> None:
        super().__init__(config)
        about = system_of(config)
        self.reads = about.reads
        self.image_encoder_is_frozen = about.freezes_image_encoder(config)
        self.own_fields = about.own_fields(config)
        self.network = build_network(about, config)
        self._no_split_modules = {type(self.network).__name__, ImageAttributes.__name__}
        self.text_encoder = (
            text_encoder or build_encoder(config.text_config) if "text" in self.reads else None
        )
        self.image_encoder = (
            image_encoder or build_encoder(config.image_config) if about.reads_image else None
        )
        self._copy_encoders()
        self.post_init()
        # The above finds those of children alone, and not of members.
        self.all_tied_weights_keys = self.get_expanded_tied_weights_keys(all_submodels=True)
        self.image_attributes = (
            ImageAttributes(**config.image_attributes) if config.image_attributes else None
        )
        self.register_state_dict_post_hook(drop_shared)
        replace_dropout(self)
        nn.Module.train(self)  # encoders come in evaluation mode, and `train` skips what is set
        self.freeze_parts()
        self.is_built = True

    @classmethod
    def from_encoders(
        cls, text_encoder: PreTrainedModel, image_encoder: PreTrainedModel, **settings: Any
    ) -> "MvcnForClassification":
        """Build around loaded encoders; `settings` are fields of `MvcnConfig`."""
        # Copies: a new configuration resets the attention kernels that its parts have chosen.
        text, image = (deepcopy(one.config) for one in (text_encoder, image_encoder))
        for part in (text, image):
            if Path(part.name_or_path).is_dir():  # says where things are on this machine
                part.name_or_path = ""
        config = cls.config_class(text_config=text, image_config=image, **settings)
        return cls(config, text_encoder, image_encoder)

    @can_return_tuple  # type: ignore[untyped-decorator]
    def forward(  # noqa: PLR0913, PLR0917 (one argument for each input)
        self,
        input_ids: Int[Tensor, "batch token"] | None = None,
        attention_mask: Int[Tensor, "batch token"] | None = None,
        pixel_values: Float[Tensor, "batch channel height width"] | None = None,
        image_features: Float[Tensor, "batch patch width"] | None = None,
        text_mask: Bool[Tensor, " batch"] | None = None,
        image_mask: Bool[Tensor, " batch"] | None = None,
        text_states: Float[Tensor, "batch token text_width"] | None = None,
        attribute_ids: Int[Tensor, "batch attribute piece"] | None = None,
        token_type_ids: Int[Tensor, "batch token"] | None = None,
        inputs_embeds: Float[Tensor, "batch token embedding"] | None = None,
        labels: Int[Tensor, " batch"] | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> MvcnOutput:
        """Classify posts, from pixels or from cached features of the frozen image encoder.

        With ``return_dict=False`` the output is a tuple of its parts in the order of `MvcnOutput`.

        Args:
            input_ids: Word pieces; not needed if no post has a text.
            attention_mask: 1 for a word piece, 0 for padding; by default there is no padding.
            pixel_values: Images from the image processor; not needed if no post has an image.
            image_features: `frozen_image_tokens` of the images, in place of pixels.
            text_mask: False for a post without a text, whose word pieces are ignored.
            image_mask: False for a post without an image, whose pixels or features are ignored.
                By default every post has a text and an image.
            text_states: `FrozenTextLayers.states` of the texts, which are not computed again.
            attribute_ids: Word pieces of the image attributes, -1 for padding; for posts without
                any, the model finds them in the image. Ignored by networks that read none.
            token_type_ids: Types of the word pieces; ignored by text encoders that know none.
            inputs_embeds: Word embeddings in place of `input_ids`.
            labels: Classes, -100 for none: the output then has a `loss`, their mean cross-entropy.
            output_attentions: Return the text-to-image attention weights and the text tokens'
                shares in the fused feature; equal fusion has none. By default, as configured.
            output_hidden_states: Return what the network reads: the last layer's states of the
                text encoder, after those of `lower_text_layers`, and of the image encoder; each
                from all members, and without an encoder that is not read. By default, as
                configured.

        Raises:
            ValueError: Texts or images are missing, or texts are given twice.
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
            token_type_ids,
            inputs_embeds,
        )
        return self._classify(tokens, labels, output_attentions, output_hidden_states)

    def encode(  # noqa: PLR0913, PLR0917 (as for `forward`)
        self,
        input_ids: Int[Tensor, "batch token"] | None = None,
        attention_mask: Int[Tensor, "batch token"] | None = None,
        pixel_values: Float[Tensor, "batch channel height width"] | None = None,
        image_features: Float[Tensor, "batch patch width"] | None = None,
        text_mask: Bool[Tensor, " batch"] | None = None,
        image_mask: Bool[Tensor, " batch"] | None = None,
        text_states: Float[Tensor, "batch token text_width"] | None = None,
        attribute_ids: Int[Tensor, "batch attribute piece"] | None = None,
        token_type_ids: Int[Tensor, "batch token"] | None = None,
        inputs_embeds: Float[Tensor, "batch token embedding"] | None = None,
    ) -> Tokens:
        """Return the input of the network; arguments are those of `forward`."""
        if inputs_embeds is not None:
            self._require_no_other_text(input_ids, text_states)
            input_ids = inputs_embeds.new_zeros(inputs_embeds.shape[:2], dtype=torch.long)
        elif input_ids is None:
            images = pixel_values if image_features is None else image_features
            input_ids = self._ids_without_texts(images, text_mask)
            text_mask = torch.zeros_like(input_ids[:, 0], dtype=torch.bool)
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        has_text, has_image = self._present_modalities(text_mask, image_mask, input_ids)
        pixel_values = _without_missing(pixel_values, image_mask)
        image_features = _without_missing(image_features, image_mask)
        image = self._encode_images(pixel_values, image_features, image_mask, input_ids)
        text = self.encode_texts(
            input_ids, attention_mask, text_states, token_type_ids, inputs_embeds
        )
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

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes in the order of the logits."""
        return tuple(self.config.id2label[index] for index in range(self.config.num_labels))

    @property
    def unimodal_label_head(self) -> UnimodalLabelHead | None:
        """The head on pairs of text and image label, where the network has one."""
        return getattr(self.network, "unimodal_label_head", None)

    def _classify(
        self,
        tokens: Tokens,
        labels: Tensor | None,
        output_attentions: bool | None,
        output_hidden_states: bool | None,
    ) -> MvcnOutput:
        """Return the output of the network with what is requested, by default as configured."""
        if output_attentions is None:
            output_attentions = bool(self.config.output_attentions)
        if output_hidden_states is None:
            output_hidden_states = bool(self.config.output_hidden_states)
        output: MvcnOutput = self.network(tokens, output_attentions)
        if output_hidden_states:
            states = tuple(one for one in (tokens.text, tokens.image) if one.shape[-1])
            output = replace(output, hidden_states=states)
        if labels is not None:
            assert output.logits is not None  # every network returns them
            output = replace(output, loss=F.cross_entropy(output.logits, labels))
        return output

    def _require_no_other_text(self, input_ids: Tensor | None, states: Tensor | None) -> None:
        """Raise a ValueError where word embeddings cannot be what the model reads of texts."""
        if input_ids is not None or states is not None:
            raise ValueError(
                "Pass either input_ids, with or without text_states, or inputs_embeds."
            )
        if self.config.ngram_buckets:
            raise ValueError(
                "This model reads n-grams of words: pass input_ids, not inputs_embeds."
            )

    def _ids_without_texts(
        self, images: Tensor | None, text_mask: Tensor | None
    ) -> Int[Tensor, "batch 1"]:
        """Return one word piece, which is masked later, for each post; none of them has a text."""
        needs_text = "text" in self.reads and (text_mask is None or bool(text_mask.any()))
        if images is None or needs_text:
            raise ValueError(
                "The text is missing: pass input_ids or inputs_embeds, with text_mask for posts "
                "without text."
            )
        piece = some_word(self.config.text_config)
        return torch.full((images.shape[0], 1), piece, device=images.device)

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
            return torch.zeros(ids.shape[0], 1, 0, device=ids.device)
        if pixels is None and features is None and mask is not None and not mask.any():
            encoders = 1 if self.image_encoder_is_frozen else len(self.image_encoders)
            return torch.zeros(len(ids), 1, encoders * self.config.image_width, device=ids.device)
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


def _without_missing(images: Tensor | None, mask: Tensor | None) -> Tensor | None:
    """Return zeros for missing images: NaN would stay NaN even with weight 0."""
    if images is None or mask is None:
        return images
    return images.masked_fill(~mask.view(-1, *[1] * (images.dim() - 1)), 0)


AutoModel.register(MvcnConfig, MvcnForClassification)
AutoModelForSequenceClassification.register(MvcnConfig, MvcnForClassification)
