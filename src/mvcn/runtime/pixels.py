"""Images as arrays of pixels, with the same bits as the image processors of Hugging Face."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

KINDS = frozenset({"ViTImageProcessor"})
"""Image processors that only resize to a fixed size, scale and shift."""
GREY_LEVELS = 256
CHANNELS = 3


class Pixels:
    """Resizes an image, scales its values and shifts them.

    After resizing, a value depends only on the grey level and the channel, so that it is looked up
    in a table.

    Args:
        settings: Those of an image processor that `supports` accepts, as they are saved.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        size = settings["size"]
        self.size = int(size["width"]), int(size["height"])
        self._resample = Image.Resampling(settings["resample"])
        self._tables = _tables(settings)

    @staticmethod
    def supports(settings: Mapping[str, Any]) -> bool:
        """Return whether an image processor does nothing else, by its saved settings."""
        return (
            settings.get("image_processor_type") in KINDS
            and bool(settings.get("do_resize"))
            and not settings.get("do_center_crop")
            and not settings.get("do_pad")
            and {"height", "width"} <= {name for name, side in settings["size"].items() if side}
        )

    def __call__(self, image: Image.Image) -> Float[np.ndarray, "channel height width"]:
        """Return the pixels of an RGB image."""
        resized = image.resize(self.size, self._resample)
        channels = zip(self._tables, resized.split(), strict=True)
        return np.stack([table.take(channel) for table, channel in channels])


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
