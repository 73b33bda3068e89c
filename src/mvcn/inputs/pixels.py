"""Images as an image encoder reads them, in fewer passes than its image processor takes."""

from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image
from transformers.models.vit import ViTImageProcessorPil

GREY_LEVELS = 256
CHANNELS = 3


class ResizedPixels:
    """Does what an image processor does that resizes, scales and shifts, and gives the same bits.

    What it makes of a resized image's grey level depends on the level and the channel alone. So it
    is asked once, for all levels, and an image takes one look into that table.

    Args:
        image_processor: One for which `can_stand_in` is true.
    """

    def __init__(self, image_processor: Any) -> None:
        levels = np.arange(GREY_LEVELS, dtype=np.uint8)[:, None, None].repeat(CHANNELS, 2)
        made = image_processor(Image.fromarray(levels), do_resize=False, return_tensors="np")
        self._tables = made["pixel_values"][0, :, :, 0]
        self._size = image_processor.size["width"], image_processor.size["height"]
        self._resample = image_processor.resample

    @staticmethod
    def can_stand_in(image_processor: Any) -> bool:
        """Tell whether an image processor does nothing else."""
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
