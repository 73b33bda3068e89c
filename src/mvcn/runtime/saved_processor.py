"""The processor of a saved model, without the library that saved it."""

import json
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image
from tokenizers import Encoding, Tokenizer

from mvcn.files import intact
from mvcn.runtime.pixels import Pixels
from mvcn.runtime.processing import PostProcessing

PROCESSOR_FILE = "processor_config.json"
TOKENIZER_FILE, TOKENIZER_SETTINGS = "tokenizer.json", "tokenizer_config.json"
SETTINGS = ("max_tokens", "mark_whitespace", "name_emoji", "number_words")
LATER_SETTINGS = ("append_attributes",)
"""Those that are off where a file does not have them."""


class SavedProcessor(PostProcessing):
    """Makes the same arrays as the `MvcnProcessor` that was saved.

    Args:
        folder: A folder for which `can_read` is true.
    """

    def __init__(self, folder: Path) -> None:
        with intact(folder / PROCESSOR_FILE) as path:
            settings = _read(path)
            for name in SETTINGS:
                setattr(self, name, settings[name])
            for name in LATER_SETTINGS:
                setattr(self, name, settings.get(name, False))
            self._pixels = Pixels(settings["image_processor"])
        with intact(folder / TOKENIZER_FILE) as path:
            self._tokenizer = Tokenizer.from_file(str(path))
        self._tokenizer.no_padding()
        with intact(folder / TOKENIZER_SETTINGS) as path:
            tokens = _read(path)
            self._side = tokens.get("truncation_side", "right")
            self._pad_id, self._unknown_id = (
                None if token is None else self._tokenizer.token_to_id(_content(token))
                for token in (tokens["pad_token"], tokens.get("unk_token"))
            )
        self._lock = Lock()

    @staticmethod
    def why_not(folder: Path) -> str | None:
        """Return why a folder's processor cannot be read in this way, None if it can."""
        if not (folder / TOKENIZER_FILE).is_file():
            return f"it has no {TOKENIZER_FILE}, so its tokenizer needs PyTorch's libraries"
        with intact(folder / PROCESSOR_FILE) as path:
            settings = _read(path)
        if not all(name in settings for name in SETTINGS):
            return "its processor was saved by an earlier version"
        if not Pixels.supports(settings["image_processor"]):
            return "its image processor does more than resize, center-crop and normalize"
        return None

    def encode_texts(
        self, texts: Sequence[str], max_tokens: int, add_special_tokens: bool = True
    ) -> Sequence[Encoding]:
        """Return what the tokenizer makes of texts; see `PostProcessing`."""
        with self._lock:  # how it truncates is a state of the tokenizer
            self._tokenizer.enable_truncation(max_tokens, direction=self._side)
            found: Sequence[Encoding] = self._tokenizer.encode_batch(
                list(texts), add_special_tokens=add_special_tokens
            )
        return found

    @property
    def pad_id(self) -> int:
        """Word piece that pads."""
        assert self._pad_id is not None  # a tokenizer without one is refused before training
        return self._pad_id

    @property
    def unknown_id(self) -> int | None:
        """Word piece of what the vocabulary lacks, if it lacks anything."""
        return self._unknown_id

    @property
    def image_size_px(self) -> int:
        """The longest side, in pixels, that images are resized to."""
        return self._pixels.longest_side

    def pixels(self, image: Image.Image) -> Float[np.ndarray, "channel height width"]:
        """Return the values that the image encoder reads of an RGB image."""
        return self._pixels(image)


def _read(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_text("utf-8"))
    if not isinstance(found, dict):
        raise TypeError("it is not a mapping")
    return found


def _content(token: str | dict[str, Any]) -> str:
    """Return the characters of a special token, which may be saved with how it is found."""
    return token if isinstance(token, str) else str(token["content"])
