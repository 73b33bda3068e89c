"""What is known of images: hashes of file and pixels, size, contrast, and what is wrong."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO

import imagehash
import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from tqdm import tqdm

from mvcn.data.images import image_digest, open_image, read_image, warn_of_truncated_images
from mvcn.data.prefetch import prefetch
from mvcn.errors import BadImageError
from mvcn.types import ImageFacts, ImageReference, Post, StoredImage

GREY_SIZE_PX = 32
"""Sides of the grey image from which the hash and the contrast are computed."""
DECODED_SIZE_PX = 4 * GREY_SIZE_PX
"""Sides that a JPEG is decoded to at least: of 221 photos, no hash changed by more than 2 bits."""
TURNED = (5, 6, 7, 8)
"""EXIF orientations that swap width and height."""


def describe_image(image: ImageReference) -> ImageFacts:
    """Return what is known of an image; a bad one is described, not raised.

    A file is read once. Facts that an image inside a larger file states are taken as they are.
    """
    if isinstance(image, StoredImage) and image.facts is not None:
        return image.facts
    return read_and_describe(image)[1]


def read_and_describe(image: ImageReference) -> tuple[bytes, ImageFacts]:
    """Return the file of an image, empty where there is none, and what is known of it."""
    try:
        content = read_image(image)
    except BadImageError as error:
        return b"", ImageFacts("", problem=str(error))
    held = content if isinstance(image, bytes) else _HeldImage(str(image), content)
    digest = image_digest(held)
    remarks: list[str] = []
    try:
        decoded = open_image(held, DECODED_SIZE_PX, remarks.append)
    except BadImageError as error:
        return content, ImageFacts(digest, problem=str(error))
    side = (GREY_SIZE_PX, GREY_SIZE_PX)
    grey = decoded.convert("L").resize(side, Image.Resampling.LANCZOS)
    perceptual_hash = int(str(imagehash.phash(grey)), 16)
    contrast = float(np.asarray(grey).std())
    truncation = remarks[0] if remarks else None
    size = _full_size(content, decoded)
    return content, ImageFacts(digest, *size, perceptual_hash, contrast, truncation=truncation)


def describe_images(
    images: Sequence[ImageReference], label: str = "Images"
) -> Iterator[ImageFacts]:
    """Yield what is known of each image in order, a few of them ahead; shows its progress.

    Args:
        images: Images, good or bad.
        label: What the progress bar says.
    """
    facts = prefetch(describe_image, images)
    yield from tqdm(facts, total=len(images), desc=label, unit="image")


def describe_images_of(posts: Sequence[Post]) -> list[ImageFacts | None]:
    """Return what is known of each post's image, good or bad; None for a post without one."""
    images = {i: post.image for i, post in enumerate(posts) if post.image is not None}
    facts: list[ImageFacts | None] = [None] * len(posts)
    for i, fact in zip(images, describe_images(list(images.values())), strict=True):
        facts[i] = fact
    warn_of_truncated_images([fact.truncation for fact in facts if fact and fact.truncation])
    return facts


@dataclass(frozen=True, slots=True)
class _HeldImage(StoredImage):
    """An image file in memory, under the name of its place."""

    name: str
    content: bytes

    def __str__(self) -> str:
        return self.name

    def read(self) -> bytes:
        return self.content


def _full_size(content: bytes, decoded: Image.Image) -> tuple[int, int]:
    """Return width and height of the upright image, of which `decoded` may be a reduced copy.

    Only JPEGs are decoded at less than their size. Their header has the size as it is stored.
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
