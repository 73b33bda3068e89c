"""The only place where a post's text and image become arrays."""

import logging
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from PIL import Image
from tokenizers import Encoding
from tqdm import tqdm

from mvcn.data.images import SECONDS_UNSEEN, Warn, open_image
from mvcn.data.text import has_text
from mvcn.runtime.text_counts import TextCounts
from mvcn.runtime.visible_text import (
    EmojiName,
    Part,
    Unit,
    VisibleText,
    mark_whitespace,
    name_emoji,
    normalize_whitespace,
)
from mvcn.types import WORD_NUMBERS, ImageReference, Post

LOG = logging.getLogger(__name__)
TEXTS_AT_ONCE = 1_000


class PostProcessing(ABC):
    """From texts to word pieces, and from images to pixels.

    A post gives the same arrays everywhere: training and prediction, with PyTorch and without it,
    differ only in how they load a tokenizer and the settings of an image processor.
    """

    max_tokens: int
    """Word pieces kept of a text."""
    mark_whitespace: bool
    """Put a middle dot for leading, trailing and repeated whitespace, not nothing or one space,
    whatever the tokenizer makes of it."""
    name_emoji: bool
    """Replace emoji that the tokenizer does not know by their names; see `name_emoji` of
    `mvcn.runtime.visible_text`. Without it, BERT's tokenizer drops the word before them, too."""
    append_attributes: bool
    """Read the attribute words of a post after its text."""
    number_words: bool
    """Number the words of a text in its word pieces, for n-grams; see `WORD_NUMBERS`. The number is
    a hash, also of words that the vocabulary lacks."""

    @abstractmethod
    def encode_texts(
        self, texts: Sequence[str], max_tokens: int, add_special_tokens: bool = True
    ) -> Sequence[Encoding]:
        """Return what the tokenizer makes of texts, truncated to `max_tokens`, not padded."""

    @property
    @abstractmethod
    def pad_id(self) -> int:
        """Word piece that pads."""

    @property
    @abstractmethod
    def unknown_id(self) -> int | None:
        """Word piece of what the vocabulary lacks, if it lacks anything."""

    @property
    @abstractmethod
    def image_size_px(self) -> int:
        """The longest side, in pixels, that images are resized to."""

    @abstractmethod
    def pixels(self, image: Image.Image) -> Float[np.ndarray, "channel height width"]:
        """Return the values that the image encoder reads of an RGB image."""

    def limit_tokens(self, most: int) -> None:
        """Keep no more word pieces of a text than a model reads; a saved processor may keep more.

        Args:
            most: Word pieces of the longest text that the model reads.
        """
        if most < self.max_tokens:
            LOG.warning(
                "The text encoder reads at most %d word pieces, fewer than the %d of the run: "
                "longer texts are truncated.",
                *(most, self.max_tokens),
            )
            self.max_tokens = most

    def text_of(self, post: Post) -> str:
        """Return what is read as the text of a post."""
        if not (self.append_attributes and post.attributes and has_text(post.text)):
            return post.text
        return f"{post.text} . {' '.join(post.attributes)}"

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
        encodings = self.encode_texts(shown, max_tokens)
        found = [encoding.ids for encoding in encodings]
        if self.number_words:
            for text, ids, encoding in zip(shown, found, encodings, strict=True):
                _number_words(text, ids, encoding)
        return found

    def count(self, texts: Sequence[str], token_ids: Sequence[list[int]]) -> list[TextCounts]:
        """Return how much of each text is in what `tokenize` gives for them."""
        full = [i for i, ids in enumerate(token_ids) if len(ids) >= self.max_tokens]
        longer = self._tokenize([texts[i] for i in full], self.max_tokens + 1)
        truncated = {i for i, ids in zip(full, longer, strict=True) if len(ids) > self.max_tokens}
        marks, unknown = self._marks, self.unknown_id
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

        An emoji is one word, whatever its name, and so are a web address, a mention and a hashtag.
        Each piece is a word of its own where the tokenizer does not say where words begin.
        """
        visible = self._visible(text)
        (pieces,) = self.encode_texts([visible.text], self.max_tokens)
        if all(number is None for number in pieces.word_ids):
            return _each_piece(pieces)
        found: dict[int | EmojiName | Unit, tuple[int, int, list[int]]] = {}
        for position, number in enumerate(pieces.word_ids):
            if number is not None:
                start, end = pieces.offsets[position]
                word = visible.names.get(end - 1, visible.units.get(end - 1, number))
                first, _, positions = found.get(word, (start, end, []))
                found[word] = first, end, [*positions, position]
        return [
            (word.emoji if isinstance(word, EmojiName) else visible.text[start:end], positions)
            for word, (start, end, positions) in found.items()
        ]

    def pad(
        self, token_ids: Sequence[list[int]], length: int = 0
    ) -> dict[str, Int[np.ndarray, "batch token"]]:
        """Return ``input_ids`` and ``attention_mask``, padded to the longest, or to `length`."""
        lengths = np.array([len(ids) for ids in token_ids])
        # Some tokenizers give nothing for an empty text; a batch is at least one word piece long.
        mask = np.arange(max(1, length, lengths.max())) < lengths[:, None]
        ids = np.full(mask.shape, self.pad_id)
        ids[mask] = np.concatenate(token_ids)
        return {"input_ids": ids, "attention_mask": mask.astype(np.int64)}

    def read_image(
        self, image: ImageReference, warn: Warn | None
    ) -> Float[np.ndarray, "channel height width"]:
        """Return the pixels of an image that is decoded no larger than the model needs.

        Raises:
            BadImageError: As `open_image` raises it, which also calls `warn`.
        """
        return self.pixels(open_image(image, self.image_size_px, warn))

    @cached_property
    def blank(self) -> Float[np.ndarray, "channel height width"]:
        """The pixels of a post without an image: zeros."""
        size = self.image_size_px
        return np.zeros_like(self.pixels(Image.new("RGB", (size, size))))

    def _visible(self, text: str) -> VisibleText:
        shown = mark_whitespace(text) if self.mark_whitespace else normalize_whitespace(text)
        return name_emoji(shown, self._knows) if self.name_emoji else VisibleText((Part(shown),))

    def _knows(self, emoji: str) -> bool:
        """Return whether the vocabulary has an emoji, on its own and within a word."""
        if emoji not in self._known_emoji:
            text = f"{emoji} a{emoji}a"
            (found,) = self.encode_texts([text], len(text) * 4, add_special_tokens=False)
            self._known_emoji[emoji] = self.unknown_id not in found.ids
        return self._known_emoji[emoji]

    @cached_property
    def _known_emoji(self) -> dict[str, bool]:
        return {}


def _each_piece(pieces: Any) -> list[tuple[str, list[int]]]:
    """Return the word pieces of a text as words, without marks that are not of the text."""
    marks = zip(pieces.tokens, pieces.special_tokens_mask, strict=True)
    found = [(token, [place]) for place, (token, is_mark) in enumerate(marks) if not is_mark]
    if found:
        LOG.info(
            "The tokenizer does not say where words begin, so word pieces are shown instead of "
            "words."
        )
    return found


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
