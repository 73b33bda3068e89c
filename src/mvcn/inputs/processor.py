"""The only place where a post's text and pixels become tensors."""

import logging
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from tokenizers import Encoding
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm
from transformers import (
    AutoImageProcessor,
    AutoProcessor,
    AutoTokenizer,
    BatchFeature,
    ProcessorMixin,
)
from transformers.models.vit import ViTImageProcessorPil

from mvcn.config import ModelConfig
from mvcn.data.images import SECONDS_UNSEEN, Warn, open_image
from mvcn.data.text import has_text
from mvcn.encoders.loading import IMAGE_BACKEND, load_image_processor, load_tokenizer
from mvcn.encoders.tokens import most_tokens
from mvcn.inputs.text_counts import TextCounts
from mvcn.inputs.visible_text import (
    EmojiName,
    Part,
    VisibleText,
    mark_whitespace,
    name_emoji,
)
from mvcn.models.build import require_tokens
from mvcn.models.configuration import MvcnConfig
from mvcn.types import WORD_NUMBERS, ImageReference

LOG = logging.getLogger(__name__)
GREY_LEVELS = 256
CHANNELS = 3
MIN_AUTO_TOKENS = 64
"""Texts of fewer word pieces are read anyway: a batch is only as long as its longest text."""
MAX_AUTO_TOKENS = 512
"""Of an encoder that reads more: time grows faster than length, so that the user has to ask."""
AUTO_PERCENT = 99
TEXTS_AT_ONCE = 1_000
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
        name_emoji: Replace emoji that the tokenizer does not know by their names; see `name_emoji`
            of `mvcn.inputs.visible_text`. Without it, BERT's tokenizer drops the word before them,
            too.
        number_words: Number the words of a text in its word pieces, for n-grams; see
            `WORD_NUMBERS`. The number is a hash, also of words that the vocabulary lacks.
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
        self._known_emoji: dict[str, bool] = {}

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

    def choose_max_tokens(self, texts: Sequence[str], reads: Callable[[int], bool]) -> None:
        """Keep all word pieces of 99 % of some texts, as far as an encoder reads them.

        Args:
            texts: Training texts.
            reads: Whether a text of so many word pieces is read.
        """
        chunks = self.tokenize_some(texts, self.max_tokens + 1)
        lengths = np.array([len(ids) for _, some in chunks for ids in some])
        most = np.percentile(lengths, AUTO_PERCENT, method="inverted_cdf") if texts else 0
        wanted = min(self.max_tokens, max(int(most), MIN_AUTO_TOKENS))
        self.max_tokens = most_tokens(reads, wanted)
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

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the word piece ids of each text, truncated to `max_tokens`, not padded."""
        return self._tokenize(texts, self.max_tokens)

    def tokenize_some(
        self, texts: Sequence[str], max_tokens: int | None = None
    ) -> Iterator[tuple[Sequence[str], list[list[int]]]]:
        """Yield some of the texts at a time with what `tokenize` returns for them.

        For each text it holds, the tokenizer needs a hundred times the memory of its word pieces.

        Args:
            texts: All texts.
            max_tokens: Word pieces kept of a text; by default `self.max_tokens`.
        """
        most = self.max_tokens if max_tokens is None else max_tokens
        is_quick = len(texts) <= TEXTS_AT_ONCE
        with tqdm(
            total=len(texts), desc="Texts", unit="text", delay=SECONDS_UNSEEN, disable=is_quick
        ) as progress:
            for start in range(0, len(texts), TEXTS_AT_ONCE):
                some = texts[start : start + TEXTS_AT_ONCE]
                yield some, self._tokenize(some, most)
                progress.update(len(some))

    def _tokenize(self, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
        if not texts:
            return []
        shown = [self._visible(text).text for text in texts]
        found = self.tokenizer(
            shown, truncation=True, max_length=max_tokens, return_attention_mask=False
        )
        ids: list[list[int]] = found["input_ids"]
        if self.number_words:
            for text, row, encoding in zip(shown, ids, found.encodings, strict=True):
                _number_words(text, row, encoding)
        return ids

    def count(self, texts: Sequence[str], token_ids: Sequence[list[int]]) -> list[TextCounts]:
        """Return how much of each text is in what `tokenize` gives for them."""
        full = [i for i, ids in enumerate(token_ids) if len(ids) >= self.max_tokens]
        longer = self._tokenize([texts[i] for i in full], self.max_tokens + 1)
        truncated = {i for i, ids in zip(full, longer, strict=True) if len(ids) > self.max_tokens}
        marks, unknown = self._marks, self.tokenizer.unk_token_id
        return [
            TextCounts(
                int(has_text(text)),
                int(i in truncated),
                len(ids) - len(marks),
                0 if unknown in marks else sum(one % WORD_NUMBERS == unknown for one in ids),
                self.max_tokens,
            )
            for i, (text, ids) in enumerate(zip(texts, token_ids, strict=True))
        ]

    @cached_property
    def _marks(self) -> list[int]:
        """The word pieces of a text without any."""
        (ids,) = self._tokenize([""], self.max_tokens)
        return ids

    def words(self, text: str) -> list[tuple[str, list[int]]]:
        """Return each word of a text with the positions of its pieces in what `tokenize` gives.

        An emoji is one word, whatever its name.
        """
        visible = self._visible(text)
        pieces = self.tokenizer(visible.text, truncation=True, max_length=self.max_tokens)
        found: dict[int | EmojiName, tuple[int, int, list[int]]] = {}
        for position, word in enumerate(pieces.word_ids()):
            if word is not None:
                start, end = pieces.token_to_chars(position)
                word = visible.names.get(end - 1, word)
                first, _, positions = found.get(word, (start, end, []))
                found[word] = first, end, [*positions, position]
        return [
            (word.emoji if isinstance(word, EmojiName) else visible.text[start:end], positions)
            for word, (start, end, positions) in found.items()
        ]

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

    def _visible(self, text: str) -> VisibleText:
        shown = mark_whitespace(text) if self.mark_whitespace else text
        return name_emoji(shown, self._knows) if self.name_emoji else VisibleText((Part(shown),))

    def _knows(self, emoji: str) -> bool:
        """Return whether the vocabulary has an emoji, on its own and within a word."""
        if emoji not in self._known_emoji:
            ids = self.tokenizer(f"{emoji} a{emoji}a", add_special_tokens=False)["input_ids"]
            self._known_emoji[emoji] = self.tokenizer.unk_token_id not in ids
        return self._known_emoji[emoji]

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


def _number_words(text: str, ids: list[int], encoding: Encoding) -> None:
    """Add the number of its word to each first piece, and its own number to each other piece.

    Args:
        text: The text.
        ids: Its word pieces, which are changed; the tokenizer's marks have no number.
        encoding: The text as the tokenizer encodes it.
    """
    previous = None
    for position, word in enumerate(encoding.word_ids):
        if word is None:
            continue
        written = encoding.tokens[position] if word == previous else _word(text, encoding, word)
        ids[position] += WORD_NUMBERS * (1 + zlib.crc32(written.encode()) % (WORD_NUMBERS - 1))
        previous = word


def _word(text: str, encoding: Encoding, word: int) -> str:
    start, end = encoding.word_to_chars(word) or (0, 0)
    return text[start:end].strip().lower()


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
