"""Image files as upright RGB images; whatever is wrong with one becomes one sentence."""

import hashlib
import logging
import struct
from collections.abc import Callable
from contextlib import suppress
from io import BufferedReader, BytesIO
from typing import TypeAlias, TypeVar

from PIL import Image, ImageOps

from mvcn.data.file_signatures import describe_unknown_file
from mvcn.data.formats.rows import why_no_file
from mvcn.data.png_chunks import SIGNATURE, without_metadata
from mvcn.data.rgb import as_rgb
from mvcn.data.truncated_jpeg import complete_jpeg
from mvcn.errors import BadImageError, reason_of
from mvcn.files import NOT_ALLOWED, why_not_allowed
from mvcn.types import ImageSource, StoredImage

LOGGER = logging.getLogger(__name__)

Found = TypeVar("Found")
Warn: TypeAlias = Callable[[str], None]

# Where Pillow itself begins to warn: a quarter of a gigabyte at three bytes a pixel.
MAX_IMAGE_PIXELS = 89_478_485

# What posts hold. Left out on purpose: formats that run other programs, such as EPS, or that are
# decoded before the number of their pixels can be checked, such as ICO.
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM")

BYTES_OF_SIGNATURE = 16
"""By which Pillow tells formats apart."""
JPEG_SIGNATURE = b"\xff\xd8\xff"
MIN_DECODED_ROWS = 0.95
"""Share of its rows from which on a truncated JPEG is read."""

TOO_LARGE = f"has more than the {MAX_IMAGE_PIXELS:,} pixels allowed: scale it down."


def open_image(
    source: ImageSource, size_hint_px: int | None = None, warn: Warn = LOGGER.warning
) -> Image.Image:
    """Decode a picture (the first frame of an animated one) into an upright RGB image.

    Colours become 8 bits each as `mvcn.data.rgb` says. Damaged or oversized metadata of a PNG are
    left out, and a JPEG without its last bytes is read where 95 % of its rows can be decoded. No
    global state is read or written, so threads may call it at the same time.

    Args:
        source: An image file, the bytes of one, or an image inside a larger file.
        size_hint_px: Sides that are enough for the caller, in pixels. A large JPEG is then decoded
            at 1/2, 1/4 or 1/8 of its size, as long as no side gets shorter than this.
        warn: Called with a sentence where a JPEG without its last bytes is read.

    Raises:
        BadImageError: Missing, empty, not an image, damaged, or above `MAX_IMAGE_PIXELS`, which
            is checked before any pixel is decoded.
    """
    try:
        with _open_stream(source) as stream:
            picture, remark = _decode(stream, lambda image: _load(image, size_hint_px))
    except _ImageError as error:
        raise BadImageError(f"{_name(source)} {error}") from error.__cause__
    if remark:
        warn(f"{_name(source)} {remark}")
    return picture


def already_warned(_: str) -> None:
    """Say nothing: for `open_image` of an image that was opened before."""


def image_size(source: ImageSource) -> tuple[int, int]:
    """Return width and height in pixels, as they are stored; no pixel is decoded.

    Raises:
        BadImageError: Missing, empty, not an image, or damaged where its size should be.
    """
    try:
        with _open_stream(source) as stream:
            return _decode(stream, lambda image: image.size)[0]
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


class _DamagedError(_ImageError):
    """That of a file that the decoder does not get through."""


def _name(source: ImageSource) -> str:
    return "The image in the given bytes" if isinstance(source, bytes) else f"Image {source}"


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
        raise _ImageError(f"cannot be opened ({reason_of(error)}): correct its path.") from error
    raise _ImageError(f"cannot be opened ({why_no_file(source)}): correct its path.")


def _decode(
    stream: BufferedReader | BytesIO, read: Callable[[Image.Image], Found]
) -> tuple[Found, str]:
    """Return what `read` returns, and what is to be said of the image, if anything."""
    if not stream.read(1):
        raise _ImageError("is empty (0 bytes): replace it or leave it out.")
    stream.seek(0)
    try:
        return _attempt(stream, read), ""
    except _DamagedError as error:
        stream.seek(0)
        content = stream.read()
        if content.startswith(SIGNATURE):
            return _attempt(BytesIO(without_metadata(content)), read), ""
        if content.startswith(JPEG_SIGNATURE):
            completed, remark = _completed(content, error)
            return _attempt(BytesIO(completed), read), remark
        raise


def _attempt(stream: BufferedReader | BytesIO, read: Callable[[Image.Image], Found]) -> Found:
    try:
        with _open(stream) as image:
            return read(image)
    except _ImageError:
        raise
    except Exception as error:  # decoders let nearly every kind through for damaged files
        raise _DamagedError(f"is damaged ({reason_of(error)}): replace or drop it.") from error


def _open(stream: BufferedReader | BytesIO) -> Image.Image:
    """Open an image as `PIL.Image.open` does, but without its warning of many pixels.

    The warning could only be silenced for all threads at once; `_load` checks the number.
    """
    beginning = stream.read(BYTES_OF_SIGNATURE)
    for name in FORMATS:
        if name not in Image.OPEN:
            Image.init()
        open_format, accepts = Image.OPEN[name]
        if accepts is None or accepts(beginning) is True:
            stream.seek(0)
            with suppress(SyntaxError, IndexError, TypeError, struct.error):  # not this format
                return open_format(stream, "")
    stream.seek(0)
    raise _DamagedError(describe_unknown_file(stream.read()))


def _completed(content: bytes, error: _DamagedError) -> tuple[bytes, str]:
    """Return a JPEG file with an end, and what is to be said of it."""
    try:
        jpeg = complete_jpeg(content)
    except Exception:  # its damage is of another kind
        raise error from error.__cause__
    if jpeg.rows < MIN_DECODED_ROWS * jpeg.height_px:
        raise _ImageError(
            f"is damaged (truncated: only {jpeg.rows} of its {jpeg.height_px} rows can be decoded "
            "in full): replace or drop it."
        )
    return jpeg.content, (
        f"is truncated: {jpeg.rows} of its {jpeg.height_px} rows can be decoded in full."
    )


def _load(image: Image.Image, size_hint_px: int | None) -> Image.Image:
    if image.width * image.height > MAX_IMAGE_PIXELS:
        raise _ImageError(TOO_LARGE)
    if size_hint_px is not None:
        image.draft(None, (size_hint_px, size_hint_px))
    image.load()
    with suppress(Exception):  # damaged EXIF data do not make the picture unreadable
        ImageOps.exif_transpose(image, in_place=True)
    rgb = as_rgb(image)
    rgb.info.clear()  # else a later reader of the EXIF data would turn it once more
    return rgb
