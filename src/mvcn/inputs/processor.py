"""The only place where a post's text and pixels become tensors."""

import logging
import os
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    AutoImageProcessor,
    AutoProcessor,
    AutoTokenizer,
    BatchFeature,
    ProcessorMixin,
)
from transformers.models.vit import ViTImageProcessorPil

from mvcn.config import ModelConfig
from mvcn.data.images import Warn, open_image
from mvcn.data.text import ODD_WHITESPACE, has_text
from mvcn.encoders.loading import IMAGE_BACKEND, load_image_processor, load_tokenizer
from mvcn.encoders.tokens import most_tokens
from mvcn.models import MvcnConfig, require_tokens
from mvcn.types import ImageReference

LOG = logging.getLogger(__name__)
GREY_LEVELS = 256
CHANNELS = 3
WHITESPACE_MARK = " \u00b7 "
"""A middle dot, which editors use, too, to make whitespace visible."""
EARLIER_NAME = "mark_blanks"
"""Of ``mark_whitespace`` in files of an earlier version."""


class MvcnProcessor(ProcessorMixin):
    """Tokenizer and image processor of one model, saved and loaded with it.

    Training and serving share it, so that a post gives the same tensors everywhere.

    Args:
        image_processor: The image encoder's.
        tokenizer: The text encoder's.
        max_tokens: Word pieces kept of a text.
        mark_whitespace: Put a middle dot for leading, trailing and repeated whitespace, for
            tokenizers that drop it: it is a part of the text that other encoders read.
    """

    def __init__(
        self,
        image_processor: Any,
        tokenizer: Any,
        max_tokens: int = 64,
        mark_whitespace: bool = True,
    ) -> None:
        super().__init__(image_processor, tokenizer)
        self.max_tokens = max_tokens
        self.mark_whitespace = mark_whitespace

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
        )

    def __call__(self, text: Sequence[str], images: Sequence[Image.Image | None]) -> BatchFeature:
        """Return all inputs of the model for a batch of posts, texts padded to the longest.

        Args:
            text: One text a post, empty where it has none.
            images: One RGB image a post, as `open_image` gives it; None where it has none.
        """
        texts = self.pad(self.tokenize(text))
        texts["text_mask"] = torch.tensor([has_text(one) for one in text])
        return BatchFeature({**texts, **self.encode_images(images)})

    def limit_tokens(self, reads: Callable[[int], bool]) -> None:
        """Keep no more word pieces of a text than are read; a saved processor may keep more.

        Args:
            reads: Whether a text of so many word pieces is read.
        """
        most = most_tokens(reads, self.max_tokens)
        if most < self.max_tokens:
            LOG.warning(
                "The text encoder reads at most %d word pieces, fewer than the %d of the run: "
                "longer texts are truncated to them.",
                *(most, self.max_tokens),
            )
            self.max_tokens = most

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the word piece ids of each text, truncated to `max_tokens`, not padded."""
        if not texts:
            return []
        ids: list[list[int]] = self.tokenizer(
            [self._visible(text) for text in texts],
            truncation=True,
            max_length=self.max_tokens,
            return_attention_mask=False,
        )["input_ids"]
        return ids

    def words(self, text: str) -> list[tuple[str, list[int]]]:
        """Return each word of a text with the positions of its pieces in what `tokenize` gives."""
        visible = self._visible(text)
        pieces = self.tokenizer(visible, truncation=True, max_length=self.max_tokens)
        found: dict[int, tuple[int, int, list[int]]] = {}
        for position, word in enumerate(pieces.word_ids()):
            if word is not None:
                start, end = pieces.token_to_chars(position)
                first, _, positions = found.get(word, (start, end, []))
                found[word] = first, end, [*positions, position]
        return [(visible[start:end], positions) for start, end, positions in found.values()]

    def pad(self, token_ids: Sequence[list[int]]) -> dict[str, torch.Tensor]:
        """Return ``input_ids`` and ``attention_mask``, padded to the longest."""
        rows = [torch.tensor(ids) for ids in token_ids]
        padding = self.tokenizer.pad_token_id
        real = [torch.ones_like(row) for row in rows]
        return {
            "input_ids": pad_sequence(rows, batch_first=True, padding_value=padding),
            "attention_mask": pad_sequence(real, batch_first=True),
        }

    def read_image(
        self, image: ImageReference, warn: Warn | None
    ) -> Float[torch.Tensor, "channel height width"]:
        """Return the pixels of an image that is decoded no larger than the model needs.

        Raises:
            BadImageError: As `open_image` raises it, which also calls `warn`.
        """
        decoded = open_image(image, self.image_size_px, warn)
        return self.encode_images([decoded])["pixel_values"][0]

    def encode_images(self, images: Sequence[Image.Image | None]) -> dict[str, torch.Tensor]:
        """Return ``pixel_values`` (zeros where there is no image) and ``image_mask``."""
        mask = np.array([image is not None for image in images])
        size = self.image_size_px
        shown = [image or Image.new("RGB", (size, size)) for image in images]
        pixels = np.stack([self._pixels(image) for image in shown])  # by NumPy: docs/performance.md
        pixels[~mask] = 0
        return {"pixel_values": torch.from_numpy(pixels), "image_mask": torch.from_numpy(mask)}

    @cached_property
    def _pixels(self) -> Callable[[Image.Image], Float[np.ndarray, "channel height width"]]:
        """What turns an image into the values that the image encoder reads."""
        if ResizedPixels.supports(self.image_processor):
            return ResizedPixels(self.image_processor)
        return self._processed

    def _processed(self, image: Image.Image) -> Float[np.ndarray, "channel height width"]:
        (values,) = self.image_processor(images=image, return_tensors="np").pixel_values
        return np.asarray(values)

    def _visible(self, text: str) -> str:
        return (
            ODD_WHITESPACE.sub(WHITESPACE_MARK, text)
            if self.mark_whitespace and has_text(text)
            else text
        )

    @property
    def image_size_px(self) -> int:
        """The longest side, in pixels, that the image processor resizes to."""
        return max(int(side) for side in dict(self.image_processor.size).values())


class ResizedPixels:
    """A faster image processor that resizes, scales and shifts, with the same bits as a result.

    After resizing, a value depends only on the grey level and the channel. So the given processor
    is called once, for all levels, and images are looked up in that table.

    Args:
        image_processor: One that `supports` accepts.
    """

    def __init__(self, image_processor: Any) -> None:
        levels = np.arange(GREY_LEVELS, dtype=np.uint8)[:, None, None].repeat(CHANNELS, 2)
        made = image_processor(Image.fromarray(levels), do_resize=False, return_tensors="np")
        self._tables = made["pixel_values"][0, :, :, 0]
        self._size = image_processor.size["width"], image_processor.size["height"]
        self._resample = image_processor.resample

    @staticmethod
    def supports(image_processor: Any) -> bool:
        """Return whether an image processor only resizes to a fixed size, scales and shifts."""
        return (
            type(image_processor) is ViTImageProcessorPil
            and bool(image_processor.do_resize)
            and not image_processor.do_center_crop
            and not image_processor.do_pad
            and image_processor.size["height"] is not None
        )

    def __call__(self, image: Image.Image) -> Float[np.ndarray, "channel height width"]:
        """Return the pixels of an RGB image."""
        resized = image.resize(self._size, self._resample)
        channels = zip(self._tables, resized.split(), strict=True)
        return np.stack([table.take(channel) for table, channel in channels])


def build_processor(config: ModelConfig) -> MvcnProcessor:
    """Build the processor that belongs to the model's encoders.

    Raises:
        ConfigError: A tokenizer or image processor cannot be loaded, or reads fewer tokens.
    """
    tokenizer = load_tokenizer(config.text_encoder)
    require_tokens(config, tokenizer.model_max_length)
    return MvcnProcessor(
        load_image_processor(config.image_encoder),
        tokenizer,
        max_tokens=config.max_tokens,
        mark_whitespace=config.mark_whitespace,
    )


AutoProcessor.register(MvcnConfig, MvcnProcessor)
