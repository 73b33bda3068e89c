"""Decoded pictures of any mode as RGB images of 8 bits a channel."""

import numpy as np
from PIL import Image

MAX_8_BIT, MAX_16_BIT = 0xFF, 0xFFFF


def as_rgb(image: Image.Image) -> Image.Image:
    """Return a picture in RGB.

    - Transparent parts are laid on white. An alpha channel that is zero everywhere is ignored
      where there are colours under it: many programs write one without meaning it.
    - 16-bit greys keep their upper 8 bits.
    - TIFF files of 32-bit greys do not say what is white. Floats in 0..1 are multiplied by 255, as
      scikit-image's ``img_as_ubyte`` does; whole numbers in 0..65535 that are not all below 256
      are 16-bit greys; other values in 0..255 are 8-bit greys. Any other range is stretched, the
      least value black and the greatest white, as ImageJ and Matplotlib show it. NaN counts as
      the least value.

    Args:
        image: Decoded and upright.
    """
    if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
        return _of_grey(_scaled(np.asarray(image)))
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _of_grey(_upper_bits(np.asarray(image)))
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    if _is_empty(rgba.getchannel("A")) and not _is_plain(rgba):
        return rgba.convert("RGB")
    paper = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(paper, rgba).convert("RGB")


def _of_grey(grey: np.ndarray) -> Image.Image:
    return Image.fromarray(grey.astype(np.uint8)).convert("RGB")


def _upper_bits(grey: np.ndarray) -> np.ndarray:
    clipped: np.ndarray = np.clip(grey, 0, MAX_16_BIT)
    return clipped >> 8


def _scaled(grey: np.ndarray) -> np.ndarray:
    """Return greys of 0 to 255."""
    values = grey[np.isfinite(grey)]
    least, most = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    is_float = grey.dtype.kind == "f"
    grey = np.nan_to_num(grey, nan=least, posinf=most, neginf=least)
    if is_float and least >= 0 and most <= 1:
        scaled: np.ndarray = np.rint(grey * MAX_8_BIT)
        return scaled
    if least >= 0 and most <= MAX_8_BIT:
        return grey
    if not is_float and least >= 0 and most <= MAX_16_BIT:
        return _upper_bits(grey)
    stretched = (grey.astype(np.float64) - least) * (MAX_8_BIT / ((most - least) or 1))
    return stretched.round()


def _is_empty(alpha: Image.Image) -> bool:
    return alpha.getextrema() == (0, 0)


def _is_plain(rgba: Image.Image) -> bool:
    """Tell whether all pixels have one colour."""
    pixels = np.asarray(rgba)
    return bool((pixels == pixels[0, 0]).all())
