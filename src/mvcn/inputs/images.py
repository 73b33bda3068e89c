"""What a model sees of posts' images: pixels, or a frozen encoder's features of them."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from mvcn.data.images import (
    Warn,
    image_digest,
    open_image,
    prefetch,
    warn_of_truncated_images,
)
from mvcn.encoders.feature_cache import FeatureCache, default_cache_root, encoder_fingerprint
from mvcn.encoders.tokens import frozen_image_tokens, token_width
from mvcn.errors import BadImageError
from mvcn.inputs.processor import MvcnProcessor
from mvcn.models.classification import MvcnForClassification
from mvcn.models.registry import system
from mvcn.types import ImageReference, Post

CACHE_FILE_IMAGES = 128


class ImagePixels:
    """Pixels of images, decoded when a batch needs them.

    Args:
        processor: The model's own.
        keep: Hold the pixels of the posts encoded last, for prediction: each image is read once.
    """

    input_name = "pixel_values"

    def __init__(self, processor: MvcnProcessor, keep: bool = False) -> None:
        self._processor = processor
        self._keep = keep
        self._kept: dict[ImageReference, Tensor] = {}

    def encode(self, posts: Iterable[Post]) -> dict[int, str]:
        """Read each image once; return position of a post -> what is wrong with its image."""
        shown = {i: post.image for i, post in enumerate(posts) if post.image is not None}
        self._kept, bad = {}, {}
        for (i, image), pixels in zip(shown.items(), self._read([*shown.values()]), strict=True):
            if isinstance(pixels, str):
                bad[i] = pixels
            elif self._keep:
                self._kept[image] = pixels
        return bad

    def __getitem__(self, image: ImageReference) -> Float[Tensor, "channel height width"]:
        """Return an image's pixels as the processor makes them."""
        return self._kept[image] if self._keep else _encode(image, self._processor, None)

    def blank(self) -> Float[Tensor, "channel height width"]:
        """Return a picture of zeros."""
        return self._processor.encode_images([None])["pixel_values"][0]

    def _read(self, images: Sequence[ImageReference]) -> Iterator[Tensor | str]:
        remarks: list[str] = []

        def read(image: ImageReference) -> Tensor | str:
            return _pixels_or_reason(image, self._processor, remarks.append)

        # threads would cost more than they gain for a single image
        pixels = map(read, images) if len(images) == 1 else prefetch(read, images)
        quiet = self._keep or not images
        yield from tqdm(pixels, total=len(images), desc="Image check", unit="image", disable=quiet)
        warn_of_truncated_images(remarks)


class ImageFeatures:
    """A frozen image encoder's token features, found by what the image file holds.

    They are read from the cache where they are, else computed and kept.

    Args:
        model: A model with a frozen image encoder.
        processor: Its own.
        root: Folder of the cache; without one they are held in memory.
    """

    input_name = "image_features"

    def __init__(
        self, model: MvcnForClassification, processor: MvcnProcessor, root: Path | None
    ) -> None:
        assert model.image_encoder is not None  # else it needs no features
        self._encoder = model.image_encoder
        self._processor = processor
        fingerprint = encoder_fingerprint(model.image_encoder, processor.image_processor)
        folder = None if root is None else root / "image-features" / fingerprint
        self._cache = FeatureCache(folder)
        self._digests: dict[ImageReference, str] = {}

    def encode(self, posts: Iterable[Post]) -> dict[int, str]:
        """Make all features available; return position of a post -> what is wrong with its image.

        Work that was interrupted continues where it was, to within one cache file.
        """
        owners: dict[str, list[int]] = {}
        files: dict[str, ImageReference] = {}
        bad = {}
        for position, post in enumerate(posts):
            if post.image is not None:
                try:
                    digest = self._digest(post.image)
                except BadImageError as error:
                    bad[position] = str(error)
                else:
                    owners.setdefault(digest, []).append(position)
                    files.setdefault(digest, post.image)
        missing = self._cache.missing(files)
        unreadable = self._extract(missing, [files[digest] for digest in missing])
        return bad | {i: why for digest, why in unreadable for i in owners[digest]}

    def __getitem__(self, image: ImageReference) -> Float[Tensor, "patch dim"]:
        """Return the token features of an image that was encoded."""
        return torch.tensor(self._cache[self._digests[image]]).float()

    def blank(self) -> Float[Tensor, "1 dim"]:
        """Return one token of zeros."""
        return torch.zeros(1, token_width(self._encoder.config))

    def _digest(self, image: ImageReference) -> str:
        if image not in self._digests:
            self._digests[image] = image_digest(image)
        return self._digests[image]

    def _extract(
        self, digests: Sequence[str], images: Sequence[ImageReference]
    ) -> list[tuple[str, str]]:
        """Fill the cache, file by file; return digest and reason of what cannot be read."""
        unreadable: list[tuple[str, str]] = []
        remarks: list[str] = []
        pixels = prefetch(
            lambda image: _pixels_or_reason(image, self._processor, remarks.append),
            images,
            ahead=CACHE_FILE_IMAGES,
        )
        results = zip(digests, pixels, strict=True)
        with tqdm(total=len(digests), desc="Image features", disable=not digests) as progress:
            while chunk := list(islice(results, CACHE_FILE_IMAGES)):
                unreadable += [(digest, why) for digest, why in chunk if isinstance(why, str)]
                self._add([(digest, found) for digest, found in chunk if isinstance(found, Tensor)])
                progress.update(len(chunk))
        warn_of_truncated_images(remarks)
        return unreadable

    def _add(self, found: Sequence[tuple[str, Tensor]]) -> None:
        if found:
            pixels = torch.stack([image for _, image in found])
            features = frozen_image_tokens(self._encoder, pixels).half().numpy()
            self._cache.add([digest for digest, _ in found], features)


def _encode(image: ImageReference, processor: MvcnProcessor, warn: Warn | None) -> Tensor:
    shown = open_image(image, processor.image_size_px, warn)
    return processor.encode_images([shown])["pixel_values"][0]


def _pixels_or_reason(
    image: ImageReference, processor: MvcnProcessor, warn: Warn | None
) -> Tensor | str:
    """Return what the image encoder reads, or why there is nothing to read."""
    try:
        return _encode(image, processor, warn)
    except BadImageError as error:
        return str(error)


ImageInputs: TypeAlias = ImagePixels | ImageFeatures
"""Makes one of the model's inputs from images that were encoded before."""


def image_inputs(model: MvcnForClassification, processor: MvcnProcessor) -> ImageInputs | None:
    """Return cached features for a model with a frozen image encoder, else pixels.

    None for a model that reads no images: they are not opened, so nothing can be wrong with them.
    """
    if model.image_encoder is None:
        return None
    if model.image_encoder_is_frozen:
        return ImageFeatures(model, processor, default_cache_root())
    return ImagePixels(processor)


def pixel_inputs(network: str, processor: MvcnProcessor, keep: bool = True) -> ImagePixels | None:
    """Return pixels for a network of `MODELS` that reads images; see `ImagePixels` for `keep`."""
    return ImagePixels(processor, keep) if system(network).reads_image else None
