"""The only place where a post's text and pixels become tensors."""

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoImageProcessor, AutoTokenizer, BatchFeature, ProcessorMixin

from mvcn.data.text import ODD_BLANKS, has_text
from mvcn.encoders.loading import IMAGE_BACKEND
from mvcn.inputs.pixels import ResizedPixels

BLANK_MARK = " \u00b7 "
"""A middle dot, which editors use, too, to make blanks visible."""


class MvcnProcessor(ProcessorMixin):
    """Tokenizer and image processor of one model, saved and loaded with it.

    Training and serving share it, so that a post gives the same tensors everywhere.

    Args:
        image_processor: The image encoder's.
        tokenizer: The text encoder's.
        max_tokens: Word pieces kept of a text.
        mark_blanks: Put a middle dot for leading, trailing and repeated blanks, for tokenizers
            that drop them: they are a part of the text that other encoders read.
    """

    def __init__(
        self,
        image_processor: Any,
        tokenizer: Any,
        max_tokens: int = 64,
        mark_blanks: bool = True,
    ) -> None:
        super().__init__(image_processor, tokenizer)
        self.max_tokens = max_tokens
        self.mark_blanks = mark_blanks

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str], **options: Any) -> "MvcnProcessor":
        """Load from a folder or hub name, with Pillow as the image backend on every machine."""
        settings, _ = cls.get_processor_dict(folder, **options)
        return cls(
            AutoImageProcessor.from_pretrained(folder, backend=IMAGE_BACKEND, **options),
            AutoTokenizer.from_pretrained(folder, **options),
            max_tokens=settings["max_tokens"],
            mark_blanks=settings["mark_blanks"],
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

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the word piece ids of each text, cut to `max_tokens`, not padded."""
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
        return {
            "input_ids": pad_sequence(rows, batch_first=True, padding_value=padding),
            "attention_mask": pad_sequence(
                [torch.ones_like(row) for row in rows], batch_first=True
            ),
        }

    def encode_images(self, images: Sequence[Image.Image | None]) -> dict[str, torch.Tensor]:
        """Return ``pixel_values`` (zeros where there is no image) and ``image_mask``."""
        mask = np.array([image is not None for image in images])
        size = self.image_size_px
        shown = [image or Image.new("RGB", (size, size)) for image in images]
        pixels = np.stack([self._pixels(image) for image in shown])  # by NumPy: decision 0030
        pixels[~mask] = 0
        return {"pixel_values": torch.from_numpy(pixels), "image_mask": torch.from_numpy(mask)}

    @cached_property
    def _pixels(self) -> Callable[[Image.Image], Float[np.ndarray, "channel height width"]]:
        """What turns an image into the values that the image encoder reads."""
        if ResizedPixels.can_stand_in(self.image_processor):
            return ResizedPixels(self.image_processor)
        return self._processed

    def _processed(self, image: Image.Image) -> Float[np.ndarray, "channel height width"]:
        (values,) = self.image_processor(images=image, return_tensors="np").pixel_values
        return np.asarray(values)

    def _visible(self, text: str) -> str:
        return ODD_BLANKS.sub(BLANK_MARK, text) if self.mark_blanks and has_text(text) else text

    @property
    def image_size_px(self) -> int:
        """The longest side, in pixels, that the image processor resizes to."""
        return max(int(side) for side in dict(self.image_processor.size).values())
