"""Images as arrays of pixels, with the same bits as the image processors of Hugging Face."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

KINDS = frozenset(f"{name}ImageProcessor" for name in ("ViT", "DeiT", "Siglip", "CLIP", "Bit"))
"""Image processors that do nothing but resize, crop the middle, scale and shift."""
MOST_OBLONG = 100
"""Times that an image may be as long as wide before it is resized with its proportions; what is
further from its middle would be cropped, and might need more memory than there is."""
GREY_LEVELS = 256
CHANNELS = 3


class Pixels:
    """Resizes an image, crops its middle, scales its values and shifts them.

    After resizing, a value depends only on the grey level and the channel, so that it is looked up
    in a table.

    Args:
        settings: Those of an image processor that `supports` accepts, as they are saved.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._size = _sides(settings["size"])
        self._crop = _sides(settings["crop_size"]) if settings.get("do_center_crop") else None
        self._resample = Image.Resampling(settings["resample"])
        self._tables = _tables(settings)

    @staticmethod
    def supports(settings: Mapping[str, Any]) -> bool:
        """Return whether an image processor does nothing else, by its saved settings."""
        is_known = settings.get("image_processor_type") in KINDS and bool(settings.get("do_resize"))
        if not is_known or settings.get("do_pad"):
            return False
        size, crop = (_sides(settings.get(name) or {}) for name in ("size", "crop_size"))
        if not settings.get("do_center_crop"):
            return size.keys() == SQUARE
        least = min(size.values(), default=0)
        return (
            size.keys() in (SQUARE, EDGE) and crop.keys() == SQUARE and least >= max(crop.values())
        )

    @property
    def longest_side(self) -> int:
        """The longest side, in pixels, that images are resized to."""
        return max(self._size.values())

    def __call__(self, image: Image.Image) -> Float[np.ndarray, "channel height width"]:
        """Return the pixels of an RGB image."""
        resized = self._resized(image)
        if self._crop is not None:
            resized = _middle(resized, self._crop["width"], self._crop["height"])
        channels = zip(self._tables, resized.split(), strict=True)
        return np.stack([table.take(channel) for table, channel in channels])

    def _resized(self, image: Image.Image) -> Image.Image:
        edge = self._size.get("shortest_edge")
        if edge is None:
            return image.resize((self._size["width"], self._size["height"]), self._resample)
        longest = MOST_OBLONG * min(image.size)
        image = _middle(image, min(image.width, longest), min(image.height, longest))
        shortest = min(image.size)
        width, height = (int(edge * side / shortest) for side in image.size)
        return image.resize((width, height), self._resample)


SQUARE, EDGE = {"height", "width"}, {"shortest_edge"}


def _sides(size: Mapping[str, Any]) -> dict[str, int]:
    """Return the sides that a size states, in pixels."""
    return {name: int(side) for name, side in size.items() if side}


def _middle(image: Image.Image, width: int, height: int) -> Image.Image:
    """Return the middle of an image, cut off as Hugging Face does where a pixel is left over."""
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def _tables(settings: Mapping[str, Any]) -> Float[np.ndarray, "channel level"]:
    """Return the value of each grey level, in the order and precision of Hugging Face's steps."""
    levels = np.arange(GREY_LEVELS, dtype=np.float64)[:, None].repeat(CHANNELS, 1)
    if settings.get("do_rescale"):
        levels *= settings["rescale_factor"]
    values = levels.astype(np.float32)
    if settings.get("do_normalize"):
        mean, std = (_per_channel(settings[name]) for name in ("image_mean", "image_std"))
        values = (values - mean) / std
    return np.ascontiguousarray(values.T)


def _per_channel(values: float | Sequence[float]) -> Float[np.ndarray, " channel"]:
    return np.broadcast_to(np.array(values, np.float32), (CHANNELS,))
