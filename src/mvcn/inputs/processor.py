"""Tokenizer and image processor of Hugging Face as one processor, which makes arrays of posts."""

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int
from PIL import Image
from transformers import (
    AutoImageProcessor,
    AutoProcessor,
    AutoTokenizer,
    BatchFeature,
    ProcessorMixin,
)

from mvcn.data.image_references import GivenImage, image_reference
from mvcn.data.posts import check_text
from mvcn.data.text import has_text
from mvcn.encoders.loading import IMAGE_BACKEND, load_image_processor, load_tokenizer
from mvcn.errors import ConfigError, DataError, count_of
from mvcn.model_config import NUM_SPECIAL_TOKENS, ModelConfig
from mvcn.models.build import require_tokens
from mvcn.models.configuration import MvcnConfig
from mvcn.runtime.pixels import Pixels
from mvcn.runtime.processing import PostProcessing
from mvcn.types import WORD_NUMBERS, ImageReference

LOG = logging.getLogger(__name__)
NO_LIMIT = 2**31 - 1
"""Word pieces of a text that is not truncated."""
TRUNCATIONS = (True, False, "longest_first", "only_first", "do_not_truncate")
MIN_AUTO_TOKENS = 64
"""Texts of fewer word pieces are read anyway: a batch is only as long as its longest text."""
MAX_AUTO_TOKENS = 512
"""Of an encoder that reads more: time grows faster than length, so that the user has to ask."""
AUTO_PERCENT = 99
NOTABLY_MORE = 1.1
"""Times the work, from which on it is mentioned."""
WORK = ", which takes {0:.1f} times the work of {1} word pieces (--set model.max_tokens={1})"
EARLIER_NAME = "mark_blanks"
"""Of ``mark_whitespace`` in files of an earlier version."""


class MvcnProcessor(PostProcessing, ProcessorMixin):
    """Tokenizer and image processor of one model, saved and loaded with it.

    Training and serving share it, so that a post gives the same tensors everywhere.

    Args:
        image_processor: The image encoder's.
        tokenizer: The text encoder's.
        max_tokens: As in `PostProcessing`, like all others.
        mark_whitespace: In place of normalizing it.
        name_emoji: For tokenizers that do not know emoji.
        append_attributes: As in `ModelConfig`.
        number_words: For n-grams.
    """

    def __init__(
        self,
        image_processor: Any,
        tokenizer: Any,
        max_tokens: int = 64,
        mark_whitespace: bool = False,
        name_emoji: bool = False,
        append_attributes: bool = False,
        number_words: bool = False,
    ) -> None:
        super().__init__(image_processor, tokenizer)
        self.max_tokens = max_tokens
        self.mark_whitespace = mark_whitespace
        self.name_emoji = name_emoji
        self.append_attributes = append_attributes
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
            append_attributes=settings.get("append_attributes", False),
            number_words=settings.get("number_words", False),
        )

    def __call__(
        self,
        text: str | Sequence[str | None] | None = None,
        images: GivenImage | Sequence[GivenImage] = None,
        *,
        return_tensors: Literal["pt", "np"] = "pt",
        padding: bool | Literal["longest", "max_length", "do_not_pad"] = True,
        truncation: bool | Literal["longest_first", "only_first", "do_not_truncate"] = True,
        max_length: int | None = None,
    ) -> BatchFeature:
        """Return the inputs of the model for a post, or for a list of posts.

        They hold word pieces if texts are given and pixels if images are, and always masks that
        say which posts have a text and an image.

        Args:
            text: The text of a post, or one a post, empty or None where it has none.
            images: The image of a post, or one a post, as for `image_reference`; None where it has
                none. A string is a path: as everywhere, web addresses are not fetched.
            return_tensors: ``pt`` for tensors of PyTorch, ``np`` for arrays of NumPy.
            padding: Pad texts to the longest (true or ``longest``), to `max_length`
                (``max_length``), or not at all, which needs texts of one length.
            truncation: Truncate texts to `max_length`, unless it is false or ``do_not_truncate``.
            max_length: Word pieces, 3 or more; by default `max_tokens`.

        Raises:
            BadImageError: An image cannot be read.
            ConfigError: An option has another value.
            DataError: There are no posts, or not as many images as texts; a text or an image is of
                another type; or texts without padding differ in length.
        """
        _require_choice("return_tensors", return_tensors, ("pt", "np"))
        _require_choice("padding", padding, (True, False, "longest", "max_length", "do_not_pad"))
        _require_choice("truncation", truncation, TRUNCATIONS)
        _require_length(max_length)
        texts, references = _texts(text), _references(images)
        count = _num_posts(texts, references)
        inputs = {"text_mask": np.zeros(count, bool), "image_mask": np.zeros(count, bool)}
        if texts is not None:
            limit = self.max_tokens if max_length is None else max_length
            is_whole = truncation in {False, "do_not_truncate"}
            ids = self._tokenize(texts, NO_LIMIT if is_whole else limit)
            inputs |= self._pad(ids, padding, limit)
            inputs["text_mask"] = np.array([has_text(one) for one in texts])
        if references is not None:
            inputs["pixel_values"] = np.stack([self._pixels_or_blank(one) for one in references])
            inputs["image_mask"] = np.array([one is not None for one in references])
        return BatchFeature(inputs, tensor_type=return_tensors)

    def decode(self, token_ids: Any, **options: Any) -> str:
        """Return the text of word pieces, numbered or not; options are those of the tokenizer."""
        text: str = self.tokenizer.decode([int(one) % WORD_NUMBERS for one in token_ids], **options)
        return text

    def batch_decode(self, sequences: Iterable[Any], **options: Any) -> list[str]:
        """Return the text of each sequence of word pieces; see `decode`."""
        return [self.decode(one, **options) for one in sequences]

    @property
    def model_input_names(self) -> list[str]:
        """What a call gives for posts of text and image."""
        return ["text_mask", "image_mask", "input_ids", "attention_mask", "pixel_values"]

    def _pad(
        self, token_ids: list[list[int]], padding: bool | str, limit: int
    ) -> dict[str, Int[np.ndarray, "batch token"]]:
        if padding in {False, "do_not_pad"} and len({len(ids) for ids in token_ids}) > 1:
            raise DataError("The texts differ in their number of word pieces: pass padding=True.")
        return self.pad(token_ids, limit if padding == "max_length" else 0)

    def _pixels_or_blank(
        self, image: ImageReference | None
    ) -> Float[np.ndarray, "channel height width"]:
        return self.blank if image is None else self.read_image(image, LOG.warning)

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
        return found.encodings or [self._without_words(ids) for ids in found["input_ids"]]

    def _without_words(self, ids: list[int]) -> "WordlessEncoding":
        """Return word pieces of a tokenizer in Python, which does not say where words begin."""
        tokens = self.tokenizer.convert_ids_to_tokens(ids)
        marks = self.tokenizer.get_special_tokens_mask(ids, already_has_special_tokens=True)
        return WordlessEncoding(ids, tokens, marks)

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
            is_slower = more > NOTABLY_MORE * fewer
            LOG.info(
                "Texts are read up to %d word pieces, %.0f %% of them completely%s.",
                *(self.max_tokens, 100 * (lengths <= self.max_tokens).mean()),
                WORK.format(more / fewer, MIN_AUTO_TOKENS) if is_slower else "",
            )


def _texts(text: Any) -> list[str] | None:
    """Return one text a post; None if none are given."""
    if text is None:
        return None
    is_one = isinstance(text, str) or not isinstance(text, Iterable)
    return [check_text(one) for one in ([text] if is_one else text)]


def _references(
    images: GivenImage | Sequence[GivenImage],
) -> list[ImageReference | None] | None:
    """Return one image a post; None if none are given."""
    if images is None:
        return None
    return [
        image_reference(one) for one in (images if isinstance(images, list | tuple) else [images])
    ]


def _num_posts(texts: Sequence[Any] | None, images: Sequence[Any] | None) -> int:
    """Return the number of posts.

    Raises:
        DataError: There are none, or not as many images as texts.
    """
    counts = {len(given) for given in (texts, images) if given is not None}
    if texts is not None and images is not None and len(counts) > 1:
        raise DataError(
            f"{count_of(len(texts), 'text')} and {count_of(len(images), 'image')} do not match: "
            "pass one image, or None, for each text."
        )
    if not counts or 0 in counts:
        raise DataError("No post was passed: pass a text, an image, or both.")
    return counts.pop()


def _require_choice(name: str, value: object, choices: Sequence[object]) -> None:
    """Raise a ConfigError unless an option has one of some values."""
    if value not in choices:
        shown = ", ".join(map(repr, choices))
        raise ConfigError(f"{name} is {value!r}, but must be one of {shown}.")


def _require_length(length: Any) -> None:
    """Raise a ConfigError for a number of word pieces that leaves none of a text."""
    is_number = isinstance(length, int | np.integer) and not isinstance(length, bool)
    if length is not None and not (is_number and length > NUM_SPECIAL_TOKENS):
        raise ConfigError(
            f"max_length is {length!r}, but must be a whole number of at least "
            f"{NUM_SPECIAL_TOKENS + 1}, or None."
        )


@dataclass(frozen=True)
class WordlessEncoding:
    """Word pieces of a tokenizer that does not say which word each belongs to."""

    ids: list[int]
    tokens: list[str]
    """The characters of each piece, with the marks of the tokenizer."""
    special_tokens_mask: list[int]
    """1 for a mark that is not of the text."""

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
        append_attributes=config.append_attributes,
        number_words=config.stack_linear,
    )


AutoProcessor.register(MvcnConfig, MvcnProcessor)
