"""Pictures that somebody has opened already, as images of posts."""

import os
import re
from io import BytesIO
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageFile

from mvcn.data.bad_images import UnreadableImage
from mvcn.data.base64_images import decode_base64_image, is_base64_image
from mvcn.data.formats.cells import is_missing
from mvcn.data.image_cells import WEB_ADDRESS, local_path
from mvcn.errors import BadImageError, DataError, reason_of
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
"""What people call an image, as `image_reference` takes it; a number only where it is NaN."""
PNG_MODES = {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"}
"""What a PNG file keeps as it is."""
TIFF_MODES = {"F", "I"}
"""What a TIFF file alone keeps: greys of 32 bits."""
PIXEL_SHAPES = ((), (1,), (3,), (4,))
"""Of grey values (both ways), RGB and RGBA: what an array has besides height and width."""
PATH_OF_ADDRESS = re.compile(r"(https?|s3|gs|ftp):/(?=[^/])", re.IGNORECASE)
"""How a web address begins once it has become a path, which has no empty names."""


class DecodedImage(StoredImage):
    """A Pillow image as the file that it was opened from, or else could have been, without a loss.

    It is kept at once: its owner may change or close it. While nobody has looked at its pixels it
    is the very file; a large JPEG that was decoded before is whole, where `open_image` would decode
    the file at a smaller size, and may differ by more than rounding.

    Args:
        image: An image of any mode; where it is turned by its EXIF data, so is the file.
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
    """Return what people call an image as the image of a post.

    Args:
        image: A path, the bytes of a file or a `BytesIO` of them, base64 text of a file as in a
            table, a Pillow image, or an array of type uint8 and shape ``(height, width)``,
            ``(height, width, 1)``, ``(height, width, 3)`` (RGB) or ``(height, width, 4)`` (RGBA).
            An empty string and a missing value are no image. A web address cannot be read and is
            never fetched.

    Raises:
        DataError: Something else.
    """
    if is_missing(image):
        return None
    if isinstance(image, str):
        return _named_image(image.strip())
    if isinstance(image, os.PathLike):
        return _path(Path(os.fsdecode(image)))
    if isinstance(image, Image.Image):
        return DecodedImage(image)
    if isinstance(image, np.ndarray):
        return DecodedImage(_picture(image))
    return _file_in_memory(image)


def _file_in_memory(image: object) -> ImageReference:
    if isinstance(image, (bytes, StoredImage)):
        return image
    if isinstance(image, (bytearray, memoryview)):
        return bytes(image)
    if isinstance(image, BytesIO):
        return image.getvalue()
    raise DataError(
        "The image of a post must be a path, the bytes of a file, a Pillow image or an array, "
        f"but is of type {type(image).__name__}."
    )


def _path(path: Path) -> ImageReference:
    address = PATH_OF_ADDRESS.match(str(path))
    return path if address is None else _web_address(f"{address[0]}/{str(path)[address.end() :]}")


def _named_image(text: str) -> ImageReference | None:
    """Return the image of a text: base64 text, or the path of a file anywhere."""
    if not text:
        return None
    if is_base64_image(text):
        try:
            return decode_base64_image(text)
        except ValueError:
            return UnreadableImage("as text", "The image is not valid base64: write it anew.")
    text = local_path(text)
    return _web_address(text) if WEB_ADDRESS.match(text) else Path(text)


def _web_address(address: str) -> UnreadableImage:
    return UnreadableImage(
        address,
        f"Image {address[:80]!r} is a web address, and nothing is downloaded: fetch it, and give "
        "the path of its file.",
    )


def _picture(array: np.ndarray) -> Image.Image:
    is_shaped = array.ndim > 1 and array.shape[2:] in PIXEL_SHAPES and array.size > 0
    if array.dtype != np.uint8 or not is_shaped:
        raise DataError(
            "An array as the image of a post must be of type uint8 and of the shape (height, "
            f"width), (height, width, 1), (height, width, 3) or (height, width, 4), but is "
            f"of type {array.dtype} and of the shape {array.shape}."
        )
    return Image.fromarray(array[..., 0] if array.shape[2:] == (1,) else array)


def _opened_file(image: Image.Image) -> bytes | None:
    """Return the file of an image whose pixels nobody has read, and so nobody has changed."""
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
