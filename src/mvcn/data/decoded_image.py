"""Pictures that somebody has opened already, as images of posts."""

from io import BytesIO
from pathlib import Path

from PIL import Image, ImageFile

from mvcn.errors import BadImageError, DataError, reason_of
from mvcn.types import ImageFacts, ImageSource, StoredImage

PNG_MODES = {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"}
"""What a PNG file keeps as it is."""
TIFF_MODES = {"F", "I"}
"""What a TIFF file alone keeps: greys of 32 bits."""


class DecodedImage:
    """A Pillow image as the file that it was opened from, or else could have been, without a loss.

    It is kept at once: its owner may change or close it. While nobody has looked at its pixels it
    is the very file; a large JPEG that was decoded before is whole, where `open_image` would decode
    the file at a smaller size, and may differ by more than rounding.

    Args:
        image: An image of any mode; where it is turned by its EXIF data, so is the file.
    """

    facts: ImageFacts | None = None

    def __init__(self, image: Image.Image) -> None:
        self._file, self._problem = b"", ""
        try:
            self._file = _opened_file(image) or _saved(image)
        except Exception as error:  # decoders let nearly every kind through for damaged files
            self._problem = reason_of(error).rstrip(".") or type(error).__name__

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


def image_source(image: object) -> ImageSource | None:
    """Return what people call an image as the image of a post.

    Args:
        image: A path, the bytes of a file, a Pillow image, or None. A web address is no path and
            is never fetched.

    Raises:
        DataError: Something else.
    """
    if image is None or isinstance(image, (Path, bytes, StoredImage)):
        return image
    if isinstance(image, str):
        return Path(image)
    if isinstance(image, Image.Image):
        return DecodedImage(image)
    raise DataError(
        "The image of a post must be a path, the bytes of a file or a Pillow image, "
        f"but is of type {type(image).__name__}."
    )


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
