"""What a model reads of images, as arrays."""

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from mvcn.data.images import Warn, prefetch, warn_of_truncated_images
from mvcn.errors import BadImageError
from mvcn.runtime.processing import PostProcessing
from mvcn.types import ImageReference, Post

ImageArray: TypeAlias = Float[np.ndarray, "*shape"]


@runtime_checkable
class ImageInputs(Protocol):
    """Makes one input of the model from images that were encoded before."""

    @property
    def input_name(self) -> str:
        """Name of the input."""

    def encode(self, posts: Sequence[Post]) -> dict[int, str]:
        """Make images available; return position of a post -> what is wrong with its image."""

    def __getitem__(self, image: ImageReference) -> ImageArray:
        """Return the input for an image that was encoded."""

    def blank(self) -> ImageArray:
        """Return the input for a post without an image."""


class ImagePixels:
    """Pixels of images, decoded when a batch needs them.

    Args:
        processor: Processor of the model.
        keep: Hold the pixels of the posts encoded last, so that prediction reads each image once.
        threads: Images that are read at the same time.
    """

    input_name = "pixel_values"

    def __init__(self, processor: PostProcessing, keep: bool = False, threads: int = 2) -> None:
        self._processor = processor
        self._keep = keep
        self._threads = threads
        self._kept: dict[ImageReference, ImageArray] = {}

    def encode(self, posts: Sequence[Post]) -> dict[int, str]:
        """Read each image once; return position of a post -> what is wrong with its image."""
        shown = {i: post.image for i, post in enumerate(posts) if post.image is not None}
        self._kept, bad = {}, {}
        for (i, image), found in zip(shown.items(), self._read_all([*shown.values()]), strict=True):
            if isinstance(found, str):
                bad[i] = found
            elif self._keep:
                self._kept[image] = found
        return bad

    def __getitem__(self, image: ImageReference) -> ImageArray:
        """Return the pixels of an image as the processor returns them."""
        return self._kept[image] if self._keep else self._read(image, None)

    def blank(self) -> ImageArray:
        """Return an image of zeros."""
        return self._processor.blank

    def _read(self, image: ImageReference, warn: Warn | None) -> ImageArray:
        return self._processor.read_image(image, warn)

    def _read_all(self, images: Sequence[ImageReference]) -> Iterator[ImageArray | str]:
        remarks: list[str] = []

        def read(image: ImageReference) -> ImageArray | str:
            try:
                return self._read(image, remarks.append)
            except BadImageError as error:
                return str(error)

        # threads would cost more than they gain for a single image
        found = (
            map(read, images) if len(images) == 1 else prefetch(read, images, threads=self._threads)
        )
        quiet = self._keep or not images
        yield from tqdm(found, total=len(images), desc="Image check", unit="image", disable=quiet)
        warn_of_truncated_images(remarks)
