"""The encoders of a model as Hugging Face saves them: frozen or trained, one or one a member."""

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init

from mvcn.encoders.images import frozen_image_tokens, image_tokens
from mvcn.encoders.tokens import (
    FrozenTextEncoder,
    FrozenTextLayers,
    freeze,
    freeze_unused,
    lowest_layers,
    most_tokens,
    reads_text_of,
    text_embeddings,
    text_tokens,
)
from mvcn.files import set_usual_permissions
from mvcn.models.configuration import MvcnConfig
from mvcn.models.ensemble import copies_sharing
from mvcn.models.image_attributes import ImageAttributes

ALIGNMENT_BYTES = 64
EARLIER_WEIGHTS = {
    r"^network\.annotation\.": "network.unimodal_label_head.",
    r"^image_words\.": "image_attributes.",
    r"^network\.text_asks\.": "network.text_attention.",
    r"^network\.image_asks\.": "network.image_attention.",
    r"^network\.pairs_ask\.": "network.pair_attention.",
}
"""Prefix of a weight's name in an earlier version -> its prefix now."""


class MvcnPreTrainedModel(PreTrainedModel):
    """Encoders of texts and of images; the base of all models around them."""

    config_class = MvcnConfig
    main_input_name = "input_ids"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    # Each encoder says which kernels it has; the network's attention is by sparsemax.
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True

    text_encoder: PreTrainedModel | None
    image_encoder: PreTrainedModel | None
    image_attributes: ImageAttributes | None
    image_encoder_is_frozen: bool
    is_built = False
    """Whether the constructor has ended."""
    own_fields: Sequence[str]
    """Fields of `Tokens` that are not the same for all members."""

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

    def save_pretrained(self, save_directory: str | os.PathLike[str], **options: Any) -> None:
        """Save as Hugging Face does, with file permissions that follow the umask.

        Weights are saved under the names of the model, which are the ones that a Trainer loads when
        it resumes; some families had others in earlier versions of transformers.
        """
        options.setdefault("save_original_format", False)
        super().save_pretrained(save_directory, **options)
        set_usual_permissions(*Path(save_directory).glob("*.safetensors"))

    def trained_weights(self) -> dict[str, Tensor]:
        """Return the weights that training changes, which make one member of an ensemble."""
        trained = {name for name, weight in self.named_parameters() if weight.requires_grad}
        homes = ("network.",) if self.image_encoder_is_frozen else ("network.", "image_encoder.")
        weights = self.state_dict()
        return {n: w for n, w in weights.items() if n in trained or n.startswith(homes)}

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

    @property
    def can_recompute_layers(self) -> bool:
        """Whether there are layers that gradient checkpointing computes again."""
        return bool(self._own_checkpointing()) or self._has_usual_checkpointing()

    def _own_checkpointing(self) -> list[PreTrainedModel]:
        """Return the trained encoders with a method of their own for it, as those of timm."""
        usual = PreTrainedModel._set_gradient_checkpointing
        return [
            one
            for one in ([] if self.image_encoder_is_frozen else self.image_encoders)
            if one.supports_gradient_checkpointing
            and type(one)._set_gradient_checkpointing is not usual
        ]

    def _has_usual_checkpointing(self) -> bool:
        return any(hasattr(one, "gradient_checkpointing") for one in self.modules())

    def _set_gradient_checkpointing(self, enable: bool = True, **options: Any) -> None:
        """Set it in layers of Hugging Face, and in encoders of timm by their own method."""
        own = self._own_checkpointing()
        for encoder in own:
            encoder._set_gradient_checkpointing(enable)
        if not own or self._has_usual_checkpointing():
            super()._set_gradient_checkpointing(enable, **options)

    def encode_images(
        self, pixel_values: Tensor | None = None, image_features: Tensor | None = None
    ) -> Float[Tensor, "batch patch image_width"]:
        """Return the image encoder's tokens; raises a ValueError without pixels and features."""
        assert self.image_encoder is not None  # of all systems that read images
        if image_features is not None:
            return image_features
        if pixel_values is None:
            raise ValueError(
                "The image is missing: pass pixel_values or image_features, with image_mask for "
                "posts without image."
            )
        if self.image_encoder_is_frozen:
            return frozen_image_tokens(self.image_encoder, pixel_values)
        each = [image_tokens(encoder, pixel_values) for encoder in self.image_encoders]
        return each[0] if len(each) == 1 else torch.cat(each, -1)

    def get_input_embeddings(self) -> nn.Module:
        """Return the word embeddings of the text encoder, with members those of the first.

        Raises:
            NotImplementedError: The network reads no text.
        """
        if self.text_encoder is None:
            raise NotImplementedError(
                f"The network '{self.config.network}' has no word embeddings, because it reads no "
                "text."
            )
        embeddings: nn.Module = self.text_encoder.get_input_embeddings()
        return embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Set the word embeddings of the text encoder, with members those of each."""
        for encoder in self.text_encoders:
            encoder.set_input_embeddings(value)

    def resize_token_embeddings(
        self,
        new_num_tokens: int | None = None,
        pad_to_multiple_of: int | None = None,
        mean_resizing: bool = True,
    ) -> nn.Module:
        """Change the vocabulary of the text encoder, with members that of each, and return it.

        The arguments are those of Hugging Face's models. Each member keeps its own embeddings.

        Raises:
            NotImplementedError: The network reads no text.
        """
        embeddings = self.get_input_embeddings()
        for encoder in self.text_encoders:
            encoder.resize_token_embeddings(new_num_tokens, pad_to_multiple_of, mean_resizing)
        embeddings = self.get_input_embeddings()
        self.config.text_config.vocab_size = embeddings.num_embeddings
        return embeddings

    def enable_input_require_grads(self) -> None:
        """Let the embeddings of texts have gradients, as reentrant checkpointing needs them.

        Those of images have none: some families return more than a tensor of them.
        """
        for encoder in self.text_encoders:
            encoder.enable_input_require_grads()

    def disable_input_require_grads(self) -> None:
        """Take back what `enable_input_require_grads` has done."""
        for encoder in self.text_encoders:
            encoder.disable_input_require_grads()

    def most_tokens(self, limit: int) -> int:
        """Return the word pieces of the longest text that can be read, up to `limit`."""
        encoder = self.text_encoder
        return limit if encoder is None else most_tokens(partial(reads_text_of, encoder), limit)

    def encode_texts(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        states: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
    ) -> Float[Tensor, "batch token text_width"]:
        """Return the tokens of texts, those of all members next to each other.

        Args:
            input_ids: Word pieces.
            attention_mask: 1 for a word piece, 0 for padding.
            states: As `text_states` of `forward`.
            token_type_ids: As for `forward`.
            inputs_embeds: As for `forward`.
        """
        if self.text_encoder is None:
            return torch.zeros(*input_ids.shape, 0, device=input_ids.device)
        if states is None and not (token_type_ids is None and inputs_embeds is None):
            others = self._other_text_inputs(token_type_ids, inputs_embeds)
            return self._encode_other_texts(input_ids, attention_mask, others)
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

    def _other_text_inputs(
        self, token_type_ids: Tensor | None, inputs_embeds: Tensor | None
    ) -> dict[str, Tensor]:
        """Return what is given, without types of tokens where the text encoder knows none."""
        others = {} if inputs_embeds is None else {"inputs_embeds": inputs_embeds}
        takes = inspect.signature(self.text_encoders[0].forward).parameters
        if token_type_ids is not None and "token_type_ids" in takes:
            others["token_type_ids"] = token_type_ids
        return others

    def _encode_other_texts(
        self, input_ids: Tensor, attention_mask: Tensor, others: Mapping[str, Tensor]
    ) -> Float[Tensor, "batch token text_width"]:
        """Run all layers of each text encoder, with gradients of embeddings through frozen ones."""
        below = self.config.lower_text_layers
        each = [
            text_tokens(one, input_ids, attention_mask, below, others) for one in self.text_encoders
        ]
        if self.config.text_encoder_is_frozen:
            each = [one.to(FrozenTextEncoder.dtype).float() for one in each]
        return torch.cat(each, -1)

    def _init_weights(self, module: nn.Module) -> None:
        """Draw linear layers by their width, as PyTorch does; Transformers draws all by 0.02.

        Blocks that hold weights of their own draw them when they are built; they are drawn again
        only where a file lacks them or has them in another size.
        """
        super()._init_weights(module)
        if isinstance(module, nn.Linear):
            init.kaiming_uniform_(module.weight, a=5**0.5)
            return
        is_torchs = type(module).__module__.startswith("torch.")
        reset: Callable[[], None] | None = getattr(module, "reset_parameters", None)
        if self.is_built and reset is not None and not is_torchs:
            reset()

    def train(self, mode: bool = True) -> "MvcnPreTrainedModel":
        """Set the training mode; frozen parts stay in evaluation mode."""
        if mode != self.training:  # the Trainer sets it before each step, and there are many parts
            super().train(mode)
            self.freeze_parts()
        return self

    def freeze_parts(self) -> None:
        """Exclude from training what the settings freeze, and what no output depends on."""
        if self.image_encoder is not None and self.image_encoder_is_frozen:
            freeze(self.image_encoder)
        if self.image_attributes is not None:
            freeze(self.image_attributes)
        for encoder in (*self.text_encoders, *self.image_encoders):
            freeze_unused(encoder)
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
