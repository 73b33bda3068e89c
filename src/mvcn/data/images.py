"""Image files as upright RGB images; whatever is wrong with one becomes one sentence."""

import hashlib
from collections.abc import Callable
from io import BufferedReader, BytesIO
from typing import TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from mvcn.data.rows import why_no_file
from mvcn.errors import BadImageError
from mvcn.files import NOT_ALLOWED, why_not_allowed
from mvcn.types import ImageSource, StoredImage

Found = TypeVar("Found")

# Where Pillow itself begins to warn: a quarter of a gigabyte at three bytes a pixel.
MAX_IMAGE_PIXELS = 89_478_485

# What posts hold. Left out on purpose: formats that run other programs, such as EPS, or that are
# decoded before the number of their pixels can be checked, such as ICO.
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM")

ORIENTATION_TAG = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what turns the stored picture the right way up."""

TOO_LARGE = f"has more than the {MAX_IMAGE_PIXELS:,} pixels allowed: scale it down."


def open_image(source: ImageSource, size_hint_px: int | None = None) -> Image.Image:
    """Decode a picture (the first frame of an animated one) into an upright RGB image.

    Transparent parts are laid on white and 16-bit greys scaled to 8 bits. No global state is
    read or written, so threads may call it at the same time.

    Args:
        source: An image file, the bytes of one, or an image inside a larger file.
        size_hint_px: Sides that are enough for the caller, in pixels. A large JPEG is then decoded
            at 1/2, 1/4 or 1/8 of its size, as long as no side gets shorter than this.

    Raises:
        BadImageError: Missing, empty, not an image, damaged, or above `MAX_IMAGE_PIXELS`, which
            is checked before any pixel is decoded.
    """
    try:
        with _open_stream(source) as stream:
            return _decode(stream, lambda image: _load(image, size_hint_px))
    except _ImageError as error:
        raise BadImageError(f"{_name(source)} {error}") from error.__cause__


def image_size(source: ImageSource) -> tuple[int, int]:
    """Return width and height in pixels, as they are stored; no pixel is decoded.

    Raises:
        BadImageError: Missing, empty, not an image, or damaged where its size should be.
    """
    try:
        with _open_stream(source) as stream:
            return _decode(stream, lambda image: image.size)
    except _ImageError as error:
        raise BadImageError(f"{_name(source)} {error}") from error.__cause__


def image_digest(source: ImageSource) -> str:
    """Return the content hash (BLAKE2b, 32 hexadecimal digits) of the file, decodable or not.

    An image inside a larger file that states its hash is taken at its word.

    Raises:
        BadImageError: There is no such file.
    """
    if isinstance(source, StoredImage) and source.facts is not None:
        return source.facts.digest
    try:
        with _open_stream(source) as stream:
            return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except _ImageError as error:
        raise BadImageError(f"{_name(source)} {error}") from error.__cause__


def read_image(source: ImageSource) -> bytes:
    """Return the image file as it is, decodable or not.

    Raises:
        BadImageError: There is no such file.
    """
    try:
        with _open_stream(source) as stream:
            return stream.read()
    except _ImageError as error:
        raise BadImageError(f"{_name(source)} {error}") from error.__cause__


class _ImageError(Exception):
    """The end of a sentence that begins with the name of the image."""


def _name(source: ImageSource) -> str:
    return "The image in the given bytes" if isinstance(source, bytes) else f"Image {source}"


def _short(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _open_stream(source: ImageSource) -> BufferedReader | BytesIO:
    if isinstance(source, bytes):
        return BytesIO(source)
    if isinstance(source, StoredImage):
        return BytesIO(source.read())
    try:
        if source.is_file():  # a named pipe would block for ever
            return source.open("rb")
    except PermissionError as error:
        forbidden = why_not_allowed(source) or NOT_ALLOWED
        raise _ImageError(forbidden) from error
    except (OSError, ValueError) as error:
        raise _ImageError(f"cannot be opened ({_short(error)}): correct its path.") from error
    raise _ImageError(f"cannot be opened ({why_no_file(source)}): correct its path.")


def _decode(stream: BufferedReader | BytesIO, read: Callable[[Image.Image], Found]) -> Found:
    if not stream.read(1):
        raise _ImageError("is empty (0 bytes): replace it or leave it out.")
    stream.seek(0)
    try:
        with Image.open(stream, formats=FORMATS) as image:
            return read(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _ImageError(TOO_LARGE) from error
    except UnidentifiedImageError as error:
        raise _ImageError("is not an image in a known format: convert it to JPEG.") from error
    except _ImageError:
        raise
    except Exception as error:  # decoders let nearly every kind through for damaged files
        raise _ImageError(f"is damaged ({_short(error)}): replace or drop it.") from error


def _load(image: Image.Image, size_hint_px: int | None) -> Image.Image:
    if image.width * image.height > MAX_IMAGE_PIXELS:
        raise _ImageError(TOO_LARGE)
    if size_hint_px is not None:
        image.draft(None, (size_hint_px, size_hint_px))
    image.load()
    orientation = _orientation(image)
    rgb = _as_rgb(image)
    rgb.info.clear()  # else a later reader of the EXIF data would turn it once more
    return rgb.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else rgb


def _orientation(image: Image.Image) -> object:
    try:
        return image.getexif().get(ORIENTATION_TAG)
    except Exception:  # damaged EXIF data do not make the picture unreadable
        return None


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):
        grey = np.clip(np.asarray(image), 0, 65535) >> 8
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    paper = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(paper, image.convert("RGBA")).convert("RGB")
