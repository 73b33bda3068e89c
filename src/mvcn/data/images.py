"""Image files: opened as upright RGB images, and described; errors are one sentence each."""

import hashlib
import logging
import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from io import BufferedReader, BytesIO
from typing import TypeAlias, TypeVar

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from tqdm import tqdm

from mvcn.data.formats.rows import why_no_file
from mvcn.errors import BadImageError, count_of, reason_of
from mvcn.files import NOT_ALLOWED, why_not_allowed
from mvcn.types import MAX_IMAGE_PIXELS, ImageFacts, ImageReference, Post, StoredImage

LOGGER = logging.getLogger(__name__)

Found = TypeVar("Found")
Item = TypeVar("Item")
Stream: TypeAlias = BufferedReader | BytesIO
Warn: TypeAlias = Callable[[str], None]

# Left out on purpose: formats that run other programs, such as EPS, or that are decoded before
# the number of their pixels can be checked, such as ICO.
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM")

BYTES_OF_SIGNATURE = 16
"""First bytes, by which Pillow recognises formats."""
MIN_DECODED_ROWS = 0.95
"""Minimum share of rows that must be decoded for a truncated JPEG to be used."""
MAX_8_BIT, MAX_16_BIT = 0xFF, 0xFFFF
NAMED_IN_WARNING = 3
SECONDS_UNSEEN = 2
"""Seconds after which the progress of work is shown that mostly takes less."""
GREY_SIZE_PX = 32
"""Side of the grey image from which hash and contrast are computed."""
DECODED_SIZE_PX = 4 * GREY_SIZE_PX
"""Least side to which a JPEG is decoded; of 221 photos, no hash changed by more than 2 bits."""
TURNED = (5, 6, 7, 8)
"""EXIF orientations that swap width and height."""

TOO_LARGE = f"has more than the {MAX_IMAGE_PIXELS:,} pixels allowed: scale it down."


def open_image(
    image: ImageReference, size_hint_px: int | None = None, warn: Warn | None = LOGGER.warning
) -> Image.Image:
    """Decode an image (the first frame of an animated one) and return it upright, in RGB.

    Colours are converted to 8 bits by `as_rgb`. Damaged or oversized metadata of a PNG are ignored,
    and a truncated JPEG is used if 95 % of its rows can be decoded. No global state is read or
    written, so several threads may call it at the same time.

    Args:
        image: An image file, the bytes of one, or an image inside a larger file.
        size_hint_px: Side that suffices for the caller, in pixels. A large JPEG is then decoded at
            1/2, 1/4 or 1/8 of its size, as long as no side becomes shorter than this.
        warn: Called with a sentence if a truncated JPEG is used; None to skip the warning for an
            image that was opened before.

    Raises:
        BadImageError: Missing, empty, not an image, damaged, or above `MAX_IMAGE_PIXELS`, which
            is checked before any pixel is decoded.
    """
    with _stream_of(image) as stream:
        decoded, remark = _decode(stream, lambda opened: _load(opened, size_hint_px))
    if remark and warn is not None:
        warn(f"{_name(image)} {remark}")
    return decoded


def warn_of_truncated_images(remarks: Sequence[str]) -> None:
    """Log how many truncated images are used, and the first of them.

    Args:
        remarks: A sentence per image, as `open_image` passes it to `warn`.
    """
    if remarks:
        first = " ".join(remarks[:NAMED_IN_WARNING])
        rest = len(remarks) - NAMED_IN_WARNING
        more = f" (and {rest} more)" if rest > 0 else ""
        count = count_of(len(remarks), "truncated image is", "truncated images are")
        LOGGER.warning("%s used: %s%s", count, first, more)


def open_thumbnail(image: ImageReference, side_px: int) -> Image.Image:
    """Decode an image that was opened before, reduced to fit into a square.

    Raises:
        BadImageError: As `open_image` raises it.
    """
    picture = open_image(image, side_px, warn=None)
    picture.thumbnail((side_px, side_px))
    return picture


def image_size(image: ImageReference) -> tuple[int, int]:
    """Return the stored width and height in pixels; no pixel is decoded.

    Raises:
        BadImageError: Missing, empty, not an image, or with a damaged header.
    """
    with _stream_of(image) as stream:
        return _decode(stream, lambda opened: opened.size)[0]


def image_digest(image: ImageReference) -> str:
    """Return the content hash (BLAKE2b, 32 hexadecimal digits) of the file, decodable or not.

    The digest stored with an image inside a larger file is returned unchecked.

    Raises:
        BadImageError: There is no such file.
    """
    if isinstance(image, StoredImage) and image.facts is not None:
        return image.facts.digest
    with _stream_of(image) as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def read_image(image: ImageReference) -> bytes:
    """Return the bytes of an image file, decodable or not.

    Raises:
        BadImageError: There is no such file.
    """
    with _stream_of(image) as stream:
        return stream.read()


def as_rgb(image: Image.Image) -> Image.Image:
    """Return a decoded image in RGB.

    - Transparent pixels are composited on white. An alpha channel that is zero everywhere is
      ignored if there are colours under it, since many programs write one by mistake.
    - 16-bit greys keep their upper 8 bits.
    - 32-bit greys of TIFF files have no defined white. Floats in 0..1 are multiplied by 255, as
      scikit-image's ``img_as_ubyte`` does; integers in 0..65535 that are not all below 256 are
      16-bit greys; other values in 0..255 are 8-bit greys. Any other range is stretched from
      black to white, as ImageJ and Matplotlib display it. NaN counts as the minimum.

    Args:
        image: Decoded and upright.
    """
    if image.mode in ("F", "I") or image.mode.startswith("I;16"):
        grey = np.asarray(image)
        has_no_white = image.mode == "F" or (image.mode == "I" and image.format == "TIFF")
        grey = _scaled(grey) if has_no_white else _upper_bits(grey)
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    if rgba.getchannel("A").getextrema() == (0, 0):
        pixels = np.asarray(rgba)
        if (pixels != pixels[0, 0]).any():
            return rgba.convert("RGB")
    paper = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(paper, rgba).convert("RGB")


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


class _ImageError(Exception):
    """The rest of a sentence that starts with the name of the image."""


class _DamagedError(_ImageError):
    """Such a sentence for a file that the decoder rejects."""


def _name(image: ImageReference) -> str:
    return "The image in the given bytes" if isinstance(image, bytes) else f"Image {image}"


@contextmanager
def _stream_of(image: ImageReference) -> Iterator[Stream]:
    """Open the file of an image; an `_ImageError` becomes a BadImageError with its name."""
    try:
        with _open_stream(image) as stream:
            yield stream
    except _ImageError as error:
        raise BadImageError(f"{_name(image)} {error}") from error.__cause__


def _open_stream(image: ImageReference) -> Stream:
    if isinstance(image, bytes):
        return BytesIO(image)
    if isinstance(image, StoredImage):
        return BytesIO(image.read())
    try:
        if image.is_file():  # a named pipe would block for ever
            return image.open("rb")
        reason = why_no_file(image)
    except PermissionError as error:
        raise _ImageError(why_not_allowed(image) or NOT_ALLOWED) from error
    except (OSError, ValueError) as error:
        raise _ImageError(f"cannot be opened ({reason_of(error)}): check its path.") from error
    raise _ImageError(f"cannot be opened ({reason}): check its path.")


def _decode(stream: Stream, read: Callable[[Image.Image], Found]) -> tuple[Found, str]:
    """Return what `read` returns, and a remark on the image, empty if there is none."""
    if not stream.read(1):
        raise _ImageError("is empty (0 bytes): replace it or leave it out.")
    stream.seek(0)
    try:
        return _attempt(stream, read), ""
    except _DamagedError as error:
        from mvcn.data import damaged_images  # rarely needed

        stream.seek(0)
        content = stream.read()
        if content.startswith(damaged_images.PNG_SIGNATURE):
            return _attempt(BytesIO(damaged_images.without_metadata(content)), read), ""
        if content.startswith(damaged_images.JPEG_SIGNATURE):
            completed, remark = _completed(content, error)
            return _attempt(BytesIO(completed), read), remark
        raise


def _attempt(stream: Stream, read: Callable[[Image.Image], Found]) -> Found:
    try:
        with _open(stream) as image:
            return read(image)
    except _ImageError:
        raise
    except Exception as error:  # decoders let nearly every kind through for damaged files
        why = f"is damaged ({reason_of(error)}): replace it or leave it out."
        raise _DamagedError(why) from error


def _open(stream: Stream) -> Image.Image:
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
    from mvcn.data.damaged_images import describe_unknown_file

    stream.seek(0)
    raise _DamagedError(describe_unknown_file(stream.read()))


def _completed(content: bytes, error: _DamagedError) -> tuple[bytes, str]:
    """Return a JPEG file with an end, and a remark on how much of it can be decoded."""
    from mvcn.data.damaged_images import complete_jpeg

    try:
        jpeg = complete_jpeg(content)
    except Exception:  # its damage is of another kind
        raise error from error.__cause__
    rows = f"{jpeg.rows} of its {jpeg.height_px} rows can be decoded"
    if jpeg.rows < MIN_DECODED_ROWS * jpeg.height_px:
        raise _ImageError(f"is damaged (truncated: only {rows}): replace it or leave it out.")
    return jpeg.content, f"is truncated: {rows}."


def _load(image: Image.Image, size_hint_px: int | None) -> Image.Image:
    if image.width * image.height > MAX_IMAGE_PIXELS:
        raise _ImageError(TOO_LARGE)
    if size_hint_px is not None:
        image.draft(None, (size_hint_px, size_hint_px))
    image.load()
    with suppress(Exception):  # damaged EXIF data do not make the image unreadable
        ImageOps.exif_transpose(image, in_place=True)
    rgb = as_rgb(image)
    rgb.info.clear()  # else a later reader of the EXIF data would turn it once more
    return rgb


def describe_image(image: ImageReference) -> ImageFacts:
    """Return the facts of an image; a bad one is described and raises no error.

    A file is read once. Facts stored with an image inside a larger file are returned unchecked.
    """
    if isinstance(image, StoredImage) and image.facts is not None:
        return image.facts
    return read_and_describe(image)[1]


def read_and_describe(image: ImageReference) -> tuple[bytes, ImageFacts]:
    """Return the file of an image, empty if it cannot be read, and the facts of the image."""
    import imagehash  # with scipy, which takes a while, and few commands need it

    try:
        content = read_image(image)
    except BadImageError as error:
        return b"", ImageFacts("", problem=str(error))
    digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    try:
        decoded, remark = _decode(BytesIO(content), lambda opened: _load(opened, DECODED_SIZE_PX))
    except _ImageError as error:
        return content, ImageFacts(digest, problem=f"{_name(image)} {error}")
    side = (GREY_SIZE_PX, GREY_SIZE_PX)
    grey = decoded.convert("L").resize(side, Image.Resampling.LANCZOS)
    perceptual_hash = int(str(imagehash.phash(grey)), 16)
    contrast = float(np.asarray(grey).std())
    truncation = f"{_name(image)} {remark}" if remark else None
    size = _full_size(content, decoded)
    return content, ImageFacts(digest, *size, perceptual_hash, contrast, truncation=truncation)


def describe_images(
    images: Sequence[ImageReference], label: str = "Images"
) -> Iterator[ImageFacts]:
    """Yield the facts of each image in order, computed a few ahead, with a progress bar.

    Args:
        images: Images, good or bad.
        label: Text of the progress bar.
    """
    facts = prefetch(describe_image, images)
    yield from tqdm(facts, total=len(images), desc=label, unit="image", disable=not images)


def describe_images_of(posts: Sequence[Post], *, warn: bool = True) -> list[ImageFacts | None]:
    """Return the facts of each post's image, good or bad; None for a post without one.

    Args:
        posts: Posts.
        warn: Log a warning for truncated images, unless another reader of them does.
    """
    images = {i: post.image for i, post in enumerate(posts) if post.image is not None}
    facts: list[ImageFacts | None] = [None] * len(posts)
    for i, fact in zip(images, describe_images(list(images.values())), strict=True):
        facts[i] = fact
    if warn:
        warn_of_truncated_images([fact.truncation for fact in facts if fact and fact.truncation])
    return facts


def _full_size(content: bytes, decoded: Image.Image) -> tuple[int, int]:
    """Return width and height of the upright image, of which `decoded` may be a reduced copy.

    Only JPEGs are decoded at a reduced size; their header has the stored size.
    """
    try:
        with Image.open(BytesIO(content), formats=["JPEG"]) as header:
            width, height = header.size
            with suppress(Exception):  # damaged EXIF data do not make the image unreadable
                if header.getexif().get(ExifTags.Base.Orientation) in TURNED:
                    return height, width
            return width, height
    except UnidentifiedImageError:
        return decoded.size


def prefetch(
    function: Callable[[Item], Found], items: Iterable[Item], ahead: int = 32, threads: int = 2
) -> Iterator[Found]:
    """Yield ``function(item)`` for each item in order, computed by threads.

    Args:
        function: Called in a thread.
        items: Its arguments.
        ahead: Most results that are computed early, which bounds memory.
        threads: Their number.
    """
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Found]] = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
