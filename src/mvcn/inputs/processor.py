"""Tokenizer and image processor of Hugging Face as one processor, which makes arrays of posts."""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from transformers import (
    AutoImageProcessor,
    AutoProcessor,
    AutoTokenizer,
    BatchFeature,
    ProcessorMixin,
)

from mvcn.config import ModelConfig
from mvcn.data.text import has_text
from mvcn.encoders.loading import IMAGE_BACKEND, load_image_processor, load_tokenizer
from mvcn.models.build import require_tokens
from mvcn.models.configuration import MvcnConfig
from mvcn.runtime.pixels import Pixels
from mvcn.runtime.processing import PostProcessing

LOG = logging.getLogger(__name__)
MIN_AUTO_TOKENS = 64
"""Texts of fewer word pieces are read anyway: a batch is only as long as its longest text."""
MAX_AUTO_TOKENS = 512
"""Of an encoder that reads more: time grows faster than length, so that the user has to ask."""
AUTO_PERCENT = 99
EARLIER_NAME = "mark_blanks"
"""Of ``mark_whitespace`` in files of an earlier version."""


class MvcnProcessor(PostProcessing, ProcessorMixin):
    """Tokenizer and image processor of one model, saved and loaded with it.

    Training and serving share it, so that a post gives the same tensors everywhere.

    Args:
        image_processor: The image encoder's.
        tokenizer: The text encoder's.
        max_tokens: As in `PostProcessing`, like all others.
        mark_whitespace: For tokenizers that drop whitespace.
        name_emoji: For tokenizers that do not know emoji.
        number_words: For n-grams.
    """

    def __init__(
        self,
        image_processor: Any,
        tokenizer: Any,
        max_tokens: int = 64,
        mark_whitespace: bool = True,
        name_emoji: bool = False,
        number_words: bool = False,
    ) -> None:
        super().__init__(image_processor, tokenizer)
        self.max_tokens = max_tokens
        self.mark_whitespace = mark_whitespace
        self.name_emoji = name_emoji
        self.number_words = number_words

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str], **options: Any) -> "MvcnProcessor":
        """Load from a folder or hub name, with Pillow as the image backend on every machine."""
        settings, _ = cls.get_processor_dict(folder, **options)
        if EARLIER_NAME in settings:
            settings["mark_whitespace"] = settings[EARLIER_NAME]
        return cls(
            AutoImageProcessor.from_pretrained(folder, backend=IMAGE_BACKEND, **options),
            AutoTokenizer.from_pretrained(folder, **options),
            max_tokens=settings["max_tokens"],
            mark_whitespace=settings["mark_whitespace"],
            name_emoji=settings.get("name_emoji", False),  # earlier versions had none
            number_words=settings.get("number_words", False),
        )

    def __call__(self, text: Sequence[str], images: Sequence[Image.Image | None]) -> BatchFeature:
        """Return all inputs of the model for a batch of posts, texts padded to the longest.

        Args:
            text: One text a post, empty where it has none.
            images: One RGB image a post, as `open_image` gives it; None where it has none.
        """
        pixels = [self.blank if image is None else self.pixels(image) for image in images]
        inputs: dict[str, Any] = {
            **self.pad(self.tokenize(text)),
            "text_mask": [has_text(one) for one in text],
            "pixel_values": np.stack(pixels),
            "image_mask": [image is not None for image in images],
        }
        return BatchFeature({name: torch.as_tensor(value) for name, value in inputs.items()})

    def encode_texts(
        self, texts: Sequence[str], max_tokens: int, add_special_tokens: bool = True
    ) -> Sequence[Any]:
        """Return what the tokenizer makes of texts; see `PostProcessing`."""
        found = self.tokenizer(
            list(texts),
            truncation=True,
            max_length=max_tokens,
            add_special_tokens=add_special_tokens,
            return_attention_mask=False,
        )
        return found.encodings or [WordlessEncoding(ids) for ids in found["input_ids"]]

    @property
    def pad_id(self) -> int:
        """Word piece that pads."""
        return int(self.tokenizer.pad_token_id)

    @property
    def unknown_id(self) -> int | None:
        """Word piece of what the vocabulary lacks, if it lacks anything."""
        found: int | None = self.tokenizer.unk_token_id
        return found

    @property
    def image_size_px(self) -> int:
        """The longest side, in pixels, that the image processor resizes to."""
        return max(int(side) for side in dict(self.image_processor.size).values())

    def pixels(self, image: Image.Image) -> Float[np.ndarray, "channel height width"]:
        """Return the values that the image encoder reads of an RGB image."""
        if self._fast_pixels is not None:
            return self._fast_pixels(image)
        (values,) = self.image_processor(images=image, return_tensors="np").pixel_values
        return np.asarray(values)

    @cached_property
    def _fast_pixels(self) -> Pixels | None:
        settings = self.image_processor.to_dict()
        return Pixels(settings) if Pixels.supports(settings) else None

    def choose_max_tokens(self, texts: Sequence[str], most_tokens: Callable[[int], int]) -> None:
        """Keep all word pieces of 99 % of some texts, as far as an encoder reads them.

        Args:
            texts: Training texts.
            most_tokens: Returns the longest text that the model reads, up to so many word pieces.
        """
        chunks = self.tokenize_some(texts, self.max_tokens + 1)
        lengths = np.array([len(ids) for _, some in chunks for ids in some])
        most = np.percentile(lengths, AUTO_PERCENT, method="inverted_cdf") if texts else 0
        wanted = min(self.max_tokens, max(int(most), MIN_AUTO_TOKENS))
        self.max_tokens = most_tokens(wanted)
        if self.max_tokens > MIN_AUTO_TOKENS:
            fewer, more = (
                lengths.clip(max=limit).sum() for limit in (MIN_AUTO_TOKENS, self.max_tokens)
            )
            LOG.info(
                "Texts are read up to %d word pieces, %.0f %% of them completely: that is %.1f "
                "times the work of %d (--set model.max_tokens=%d).",
                *(self.max_tokens, 100 * (lengths <= self.max_tokens).mean()),
                *(more / fewer, MIN_AUTO_TOKENS, MIN_AUTO_TOKENS),
            )


@dataclass(frozen=True)
class WordlessEncoding:
    """Word pieces of a tokenizer that does not say which word each belongs to."""

    ids: list[int]

    @property
    def word_ids(self) -> list[None]:
        """The word of each piece: none."""
        return [None] * len(self.ids)


def build_processor(config: ModelConfig) -> MvcnProcessor:
    """Build the processor that belongs to the model's encoders.

    With `max_tokens` ``auto`` it reads long texts until `MvcnProcessor.choose_max_tokens` decides.

    Raises:
        ConfigError: A tokenizer or image processor cannot be loaded, or reads fewer tokens.
    """
    tokenizer = load_tokenizer(config.text_encoder)
    require_tokens(config, tokenizer.model_max_length)
    auto = min(MAX_AUTO_TOKENS, tokenizer.model_max_length)
    return MvcnProcessor(
        load_image_processor(config.image_encoder),
        tokenizer,
        max_tokens=auto if config.max_tokens == "auto" else config.max_tokens,
        mark_whitespace=config.mark_whitespace,
        name_emoji=config.name_emoji,
        number_words=config.stack_linear,
    )


AutoProcessor.register(MvcnConfig, MvcnProcessor)
