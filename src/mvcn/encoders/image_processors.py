"""Image processors that are made here, for encoders whose published ones do not fit or are none."""

import math
from collections.abc import Mapping
from typing import Any

from PIL import Image
from transformers.models.clip import CLIPImageProcessorPil
from transformers.models.vit import ViTImageProcessorPil

from mvcn.errors import ConfigError


def efficientnet_lite0_processor() -> Any:
    """Scale pixels to [-1, 1) as in pretraining; do not crop, as words may be at the edge."""
    return ViTImageProcessorPil(
        size={"height": 224, "width": 224},
        resample=3,
        image_mean=[127 / 255] * 3,
        image_std=[128 / 255] * 3,
    )


def processor_of_squares(published: Any) -> Any:
    """Return a processor that resizes to squares, for one that keeps the shape of images."""
    side = math.isqrt(published.max_num_patches) * published.patch_size
    return ViTImageProcessorPil(
        size={"height": side, "width": side},
        resample=published.resample,
        image_mean=published.image_mean,
        image_std=published.image_std,
    )


def processor_of_timm(settings: Mapping[str, Any], name: str) -> Any:
    """Return a processor that does what timm does for evaluation, and needs neither it nor PyTorch.

    Deviation: where 3, 7, 11 and so on rows or columns are cut off, the crop is one pixel further
    to the top or left, since Hugging Face rounds down where timm rounds half to even.

    Args:
        settings: As from `timm.data.resolve_data_config`.
        name: Of the image encoder.

    Raises:
        ConfigError: The crop mode is neither ``center``, of squares, nor ``squash``.
    """
    _, height, width = settings["input_size"]
    mode, crop_pct = settings["crop_mode"], settings["crop_pct"]
    if mode not in {"center", "squash"} or (mode == "center" and height != width):
        raise ConfigError(
            f"The image processor of '{name}' crops to {height} x {width} pixels with mode "
            f"'{mode}', but only 'squash', or 'center' to a square, is supported: choose another "
            "image encoder with --set model.image_encoder=NAME."
        )
    resized = {"height": math.floor(height / crop_pct), "width": math.floor(width / crop_pct)}
    steps = {
        "resample": Image.Resampling[settings["interpolation"].upper()],
        "image_mean": [*settings["mean"]],
        "image_std": [*settings["std"]],
    }
    cropped = {"height": height, "width": width}
    if mode == "squash" and resized == cropped:
        return ViTImageProcessorPil(size=cropped, **steps)
    size = resized if mode == "squash" else {"shortest_edge": resized["height"]}
    return CLIPImageProcessorPil(size=size, crop_size=cropped, **steps)
