"""References to images in tables and programs: paths, base64 text, bytes."""

import base64
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable
from urllib.parse import unquote

import numpy as np
from PIL import Image, ImageFile

from mvcn.data.formats.rows import Row, is_missing, kind_of_cell
from mvcn.errors import BadImageError, DataError, reason_of
from mvcn.files import ADDRESS
from mvcn.types import ImageReference, StoredImage

GivenImage: TypeAlias = (
    ImageReference
    | Image.Image
    | np.ndarray
    | os.PathLike[str]
    | bytearray
    | memoryview
    | BytesIO
    | str
    | float
    | None
)
"""What `image_reference` accepts as an image; of numbers, only NaN."""
PNG_MODES = {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"}
"""Modes that a PNG file stores without loss."""
TIFF_MODES = {"F", "I"}
"""Modes that only a TIFF file stores without loss: 32-bit greys."""
PIXEL_SHAPES = ((), (1,), (3,), (4,))
"""Shapes after height and width of arrays of grey (two forms), RGB and RGBA values."""
PATH_OF_ADDRESS = re.compile(r"\A(https?|s3|gs|ftp):/(?=[^/])", re.IGNORECASE)
"""Start of a web address that was converted to a path, which drops one slash."""
FILE_ADDRESS = re.compile(r"file://(?:localhost)?(?=/)", re.IGNORECASE)
NO_IMAGE = frozenset(("\\N", "NaN", "nan", "<NA>", "#N/A", "NULL", "null", "None"))
"""What programs write into an empty cell."""
PYTHON_BYTES = re.compile(r"b(['\"]).*\1", re.DOTALL)
MAX_PATH_CHARACTERS = 4096

DATA_URL = re.compile(
    r"data:(?:(?P<image>image/[\w.+-]+)|[\w.+-]+/[\w.+-]+)?(?:;[\w.+-]+=[\w.+-]+)*;base64,",
    re.IGNORECASE,
)
"""Of an image, of another media type, or without a media type; Python 3.11.2 matches possessive
groups wrongly, and without them the time is still linear."""
BASE64 = re.compile(r"[A-Za-z0-9+/_\s-]++=*+\s*+")
"""Possessive quantifiers, so that long whitespace does not take quadratic time."""
FROM_URL_SAFE = str.maketrans("-_", "+/")
SHORTEST_BASE64 = 64
"""Characters of the shortest base64 text that can be an image."""
SIGNATURES = (
    *(b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*"),
    *(b"\0\0\1\0", b"P5", b"P6", b"\xffO\xff"),
)
"""First bytes of image files."""
BOXES = (b"ftyp", b"jP  ")
"""What AVIF and JPEG 2000 files have instead, after four bytes."""


@dataclass(frozen=True, slots=True)
class UnreadableImage(StoredImage):
    """An entry of a dataset that cannot or must not be read as an image, such as a web address."""

    name: str
    """As given in the dataset."""
    reason: str
    """One sentence: why it is not read, where it is, and what to do."""

    def __str__(self) -> str:
        return self.name

    def read(self) -> bytes:
        """Raise a BadImageError with the reason."""
        raise BadImageError(self.reason)


class DecodedImage(StoredImage):
    """A Pillow image as the file that it was opened from, or as a new file without loss.

    The file is kept at once, since the caller may change or close the image. If its pixels were
    not loaded yet, it is the original file. A large JPEG that was loaded before has its full size,
    where `open_image` would decode the file at a smaller one, so pixels may differ by more than
    rounding.

    Args:
        image: An image of any mode; the file keeps the orientation of its EXIF data.
    """

    def __init__(self, image: Image.Image) -> None:
        self._file, self._problem = b"", ""
        try:
            self._file = _opened_file(image) or _saved(image)
        except Exception as error:  # decoders let nearly every kind through for damaged files
            self._problem = reason_of(error)

    def __str__(self) -> str:
        return "in memory"

    def read(self) -> bytes:
        """Return the image as a file.

        Raises:
            BadImageError: Its pixels could not be read.
        """
        if self._problem:
            raise BadImageError(
                f"Image in memory is damaged ({self._problem}): replace it or leave it out."
            )
        return self._file


def image_reference(image: object) -> ImageReference | None:
    """Return the image of a post from any of the usual representations.

    Args:
        image: A path, the bytes of a file or a `BytesIO` of them, base64 text of a file as in a
            table, a Pillow image, or an array of type uint8 and shape ``(height, width)``,
            ``(height, width, 1)``, ``(height, width, 3)`` (RGB) or ``(height, width, 4)`` (RGBA).
            An empty string and a missing value are no image. A web address cannot be read and is
            never fetched.

    Raises:
        DataError: It is of another type.
    """
    if is_missing(image):
        return None
    if isinstance(image, str):
        return _image_of_given_text(image.strip())
    if isinstance(image, os.PathLike):
        path = Path(os.fsdecode(image))
        address = PATH_OF_ADDRESS.sub(r"\1://", str(path))
        return path if address == str(path) else _web_address(address)
    if isinstance(image, np.ndarray):
        return DecodedImage(_image_of_array(image))
    return DecodedImage(image) if isinstance(image, Image.Image) else _file_in_memory(image)


def _file_in_memory(image: object) -> ImageReference:
    if isinstance(image, (bytes, StoredImage)):
        return image
    if isinstance(image, (bytearray, memoryview)):
        return bytes(image)
    if isinstance(image, BytesIO):
        return image.getvalue()
    raise DataError(
        "The image of a post must be a path, the bytes of a file, a Pillow image or an array, not "
        f"{type(image).__name__}."
    )


def _image_of_given_text(text: str) -> ImageReference | None:
    """Return the image of a text: base64 text, or the path of a file anywhere."""
    if not text:
        return None
    if is_base64_image(text):
        try:
            return decode_base64_image(text)
        except ValueError:
            return UnreadableImage("as text", "The image is not valid base64: encode it again.")
    text = _local_path(text)
    return _web_address(text) if ADDRESS.match(text) else Path(text)


def _web_address(address: str) -> UnreadableImage:
    return UnreadableImage(
        address,
        f"Image {address[:80]!r} is a web address, and nothing is downloaded: download it first, "
        "then pass the path of the file.",
    )


def _image_of_array(array: np.ndarray) -> Image.Image:
    is_shaped = array.ndim > 1 and array.shape[2:] in PIXEL_SHAPES and array.size > 0
    if array.dtype != np.uint8 or not is_shaped:
        raise DataError(
            "An image array must have dtype uint8 and shape (height, width) or (height, width, "
            f"channels) with 1, 3 or 4 channels, not dtype {array.dtype} and shape {array.shape}."
        )
    return Image.fromarray(array[..., 0] if array.shape[2:] == (1,) else array)


def _opened_file(image: Image.Image) -> bytes | None:
    """Return the file of an image whose pixels were not loaded, and so not changed."""
    if not isinstance(image, ImageFile.ImageFile) or not image.tile or image.tell():
        return None
    stream = getattr(image, "fp", None)
    if stream is None:
        return None
    place = stream.tell()
    stream.seek(0)
    content: bytes = stream.read()
    stream.seek(place)
    return content


def _saved(image: Image.Image) -> bytes:
    """Return an image as a PNG file, or as a TIFF file where its greys have 32 bits."""
    file = BytesIO()
    if image.mode in TIFF_MODES:
        image.save(file, "TIFF", exif=image.getexif())
        return file.getvalue()
    if image.mode not in PNG_MODES:
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    image.save(file, "PNG", compress_level=1, exif=image.getexif())
    return file.getvalue()


@runtime_checkable
class ImagePlace(Protocol):
    """The folder that image paths are relative to."""

    def path(self, name: str, where: str) -> ImageReference:
        """Return the image of a path, which need not exist.

        Args:
            name: Path as given in the dataset.
            where: File and row, for errors.

        Returns:
            A file inside the folder, else an image that raises an error on reading.
        """


def image_of_cell(cell: Any, row: Row, folder: ImagePlace) -> ImageReference | None:
    """Return the image that a cell names or contains; an `UnreadableImage` for any other cell.

    Args:
        cell: Null, a path, base64 text with or without ``data:image/...;base64,`` before it, the
            bytes of an image file, its place in a larger file, or a mapping with ``bytes`` or
            ``path`` as Hugging Face datasets write it; or a list of at most one of them. Text of
            `NO_IMAGE` means no image unless a file has that name.
        row: Its row.
        folder: The folder that a path is relative to.
    """
    value = cell
    while isinstance(value, list) and not value[1:]:
        value = value[0] if value else None
    if isinstance(value, Mapping) and not {"bytes", "path"}.isdisjoint(value):
        content = value.get("bytes")
        value = value.get("path") if content is None else content
    if isinstance(value, str):
        stored = row.image if value is cell else None
        return _image_of_text(value.strip(), row.where, folder, stored)
    if is_missing(value):
        return None
    if isinstance(value, Path | bytes | StoredImage):
        return value
    return _unusable_cell(value, row.where)


def _unusable_cell(cell: Any, where: str) -> UnreadableImage:
    kind, hint = kind_of_cell(cell), ", not a path, base64 text or bytes"
    if isinstance(cell, Mapping):
        hint = " without 'path' and 'bytes': add one of them"
    elif isinstance(cell, list):
        hint = f" of {len(cell)} images: keep one"
    return UnreadableImage(kind, f"{where}: the image is {kind}{hint}.")


def _image_of_text(
    text: str, where: str, folder: ImagePlace, stored: StoredImage | None
) -> ImageReference | None:
    if not text:
        return None
    if is_base64_image(text):
        try:
            content = decode_base64_image(text)
        except ValueError as error:
            problem = f"the image is not valid base64 ({reason_of(error)[:100]}): encode it again."
            return UnreadableImage(text[:MAX_PATH_CHARACTERS], f"{where}: {problem}")
        return content if stored is None else stored
    text = _local_path(text)
    if problem := _why_no_path(text):
        return UnreadableImage(text[:MAX_PATH_CHARACTERS], f"{where}: {problem}")
    found = folder.path(text, where)
    if text in NO_IMAGE and not (isinstance(found, Path) and found.is_file()):
        return None
    return found


def _local_path(text: str) -> str:
    """Return the path of an address ``file:///...``; other text is returned unchanged."""
    address = FILE_ADDRESS.match(text)
    return text if address is None else unquote(text[address.end() :])


def _why_no_path(text: str) -> str:
    """Return why a text is not a path, and what to do; empty if it may be one."""
    if text[:5].lower() == "data:":
        return (
            f"image {text[:80]!r} is not a valid data URL: write it as data:image/png;base64,... "
            "or use a path."
        )
    if PYTHON_BYTES.fullmatch(text):
        return "the image is bytes as Python prints them (b'...'): write them as base64."
    if ADDRESS.match(text):
        return (
            f"image {text[:80]!r} is a web address, and nothing is downloaded: download the images "
            "first, for example with img2dataset, and read its .tar files with --data webdataset."
        )
    return ""


def is_base64_image(text: str) -> bool:
    """Return whether a text is base64 text of an image, or a data URL of one, and not a path.

    A data URL without an image type counts if its content starts like an image file.
    """
    prefix = DATA_URL.match(text)
    if prefix is not None and prefix["image"]:
        return True
    if prefix is not None:
        text = unquote(text[prefix.end() :][: 3 * SHORTEST_BASE64])
    elif len(text) < SHORTEST_BASE64 or not BASE64.fullmatch(text):
        return False
    beginning = re.sub(r"[\s=]", "", text[:SHORTEST_BASE64]).translate(FROM_URL_SAFE)
    return _begins_as_image(base64.b64decode(beginning[: len(beginning) // 4 * 4]))


def decode_base64_image(text: str) -> bytes:
    """Return the image file that base64 text or a data URL holds.

    Line breaks and other whitespace are ignored, and ``-`` and ``_`` are read as ``+`` and ``/``
    (RFC 4648, section 5). Padding may be missing if the content starts like an image file; without
    that condition nearly every short path would be base64 text.

    Raises:
        ValueError: It is not base64 text.
    """
    prefix = DATA_URL.match(text.lstrip())
    letters = text if prefix is None else unquote(text.lstrip()[prefix.end() :])
    letters = "".join(letters.split()).translate(FROM_URL_SAFE)
    absent = 0 if "=" in letters else -len(letters) % 4
    content = base64.b64decode(letters + "=" * absent, validate=True)
    is_image = _begins_as_image(content)
    if absent and not is_image:
        raise ValueError("Incorrect padding")
    if prefix is not None and not prefix["image"] and not is_image:
        raise ValueError("No image")
    return content


def _begins_as_image(content: bytes) -> bool:
    return content.startswith(SIGNATURES) or content[4:8] in BOXES
