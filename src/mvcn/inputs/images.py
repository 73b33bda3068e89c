"""What a model reads of images: pixels, or features of a frozen encoder from a cache on disk.

A cache folder belongs to one encoder and one preprocessing. It holds pairs of files, which are
memory-mapped: an array of features, and the content digests of their images. Each file is renamed
into place when complete, so a killed process leaves no partial one, several processes can write at
once without locks, and an image that is cached twice only costs disk space.
"""

import hashlib
import logging
import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel

from mvcn.data.images import (
    Warn,
    image_digest,
    prefetch,
    warn_of_truncated_images,
)
from mvcn.encoders.tokens import frozen_image_tokens, token_width
from mvcn.errors import BadImageError, count_of, reason_of
from mvcn.inputs.processor import MvcnProcessor
from mvcn.models.classification import MvcnForClassification
from mvcn.models.registry import system
from mvcn.types import ImageReference, Post

LOG = logging.getLogger(__name__)
CACHE_VARIABLE = "MVCN_CACHE"
IN_MEMORY = (
    "its content is held in memory and recomputed next time; set "
    f"{CACHE_VARIABLE} to a folder that can be written"
)
CACHE_FORMAT = b"1"
CACHE_FILE_IMAGES = 128


class ImagePixels:
    """Pixels of images, decoded when a batch needs them.

    Args:
        processor: Processor of the model.
        keep: Hold the pixels of the posts encoded last, so that prediction reads each image once.
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
        """Return the pixels of an image as the processor returns them."""
        return self._kept[image] if self._keep else self._processor.read_image(image, None)

    def blank(self) -> Float[Tensor, "channel height width"]:
        """Return an image of zeros."""
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
    """Token features of a frozen image encoder, read from the cache or computed and added to it.

    Args:
        model: A model with a frozen image encoder.
        processor: Processor of the model.
        root: Folder of all caches; without one features are held in memory.
    """

    input_name = "image_features"

    def __init__(
        self, model: MvcnForClassification, processor: MvcnProcessor, root: Path | None
    ) -> None:
        assert model.image_encoder is not None  # else there are no features
        self._encoder = model.image_encoder
        self._processor = processor
        fingerprint = encoder_fingerprint(model.image_encoder, processor.image_processor)
        folder = None if root is None else root / "image-features" / fingerprint
        self._cache = FeatureCache(folder)
        self._digests: dict[ImageReference, str] = {}

    def encode(self, posts: Iterable[Post]) -> dict[int, str]:
        """Make all features available; return position of a post -> what is wrong with its image.

        Interrupted work resumes after the last complete cache file.
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
        """Fill the cache file by file; return digests of unreadable images with the reasons."""
        unreadable: list[tuple[str, str]] = []
        remarks: list[str] = []
        pixels = prefetch(
            lambda image: _pixels_or_reason(image, self._processor, remarks.append),
            images,
            ahead=CACHE_FILE_IMAGES,
        )
        results = zip(digests, pixels, strict=True)
        with tqdm(
            total=len(digests), desc="Image features", unit="image", disable=not digests
        ) as progress:
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


class FeatureCache:
    """Token features of images, by the digest of the content of the image file.

    Args:
        folder: Folder of the cache files. If it is None or not writable, features are held in
            memory; a warning is logged for the latter.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._is_writable = folder is not None
        self._rows: dict[str, tuple[np.ndarray, int]] = {}
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                kept = sorted(folder.glob("*.txt"))
            except OSError as error:
                self._hold_in_memory(folder, error)
            else:
                self._open_all(folder, kept)

    def __contains__(self, digest: str) -> bool:
        return digest in self._rows

    def __getitem__(self, digest: str) -> Float[np.ndarray, "patch dim"]:
        """Return a read-only view of one image's features; they are loaded on access."""
        array, row = self._rows[digest]
        features: np.ndarray = array[row]
        return features

    def missing(self, digests: Iterable[str]) -> list[str]:
        """Return the distinct digests without features, in order."""
        return [digest for digest in dict.fromkeys(digests) if digest not in self]

    def add(self, digests: Sequence[str], features: Float[np.ndarray, "batch patch dim"]) -> None:
        """Write a cache file; it counts once its digests are written, which is last."""
        if self.folder is not None and self._is_writable:
            try:
                self._open(_write_cache_file(self.folder, digests, features))
            except OSError as error:
                self._hold_in_memory(self.folder, error)
            else:
                return
        self._rows.update((digest, (features, row)) for row, digest in enumerate(digests))

    def _hold_in_memory(self, folder: Path, error: OSError) -> None:
        self._is_writable = False
        warn_of_cache(folder, error)

    def _open_all(self, folder: Path, kept: Sequence[Path]) -> None:
        forbidden = 0
        for names in kept:
            try:
                self._open(names)
            except PermissionError:
                forbidden += 1
        if forbidden:
            LOG.warning(
                "%s of the cache %s cannot be read (permission denied), so features are "
                "recomputed: set %s to a folder of your own.",
                count_of(forbidden, "file"),
                folder,
                CACHE_VARIABLE,
            )

    def _open(self, names: Path) -> None:
        """Map a cache file; an incomplete one counts as missing and is recomputed."""
        digests = names.read_text("ascii", errors="replace").split()
        try:
            array = np.load(names.with_suffix(".npy"), mmap_mode="r")
        except PermissionError:
            raise
        except (OSError, ValueError, EOFError):
            return
        if len(array) == len(digests):
            self._rows.update((digest, (array, row)) for row, digest in enumerate(digests))


def _pixels_or_reason(
    image: ImageReference, processor: MvcnProcessor, warn: Warn | None
) -> Tensor | str:
    """Return the pixels of an image, or why it cannot be read."""
    try:
        return processor.read_image(image, warn)
    except BadImageError as error:
        return str(error)


ImageInputs: TypeAlias = ImagePixels | ImageFeatures
"""Returns one input of the model from images that were encoded before."""


def default_cache_root() -> Path | None:
    """Return the folder for caches: ``$MVCN_CACHE``, else ``~/.cache/mvcn``.

    Without a home folder it is None, and a warning is logged.
    """
    if given := os.environ.get(CACHE_VARIABLE):
        return Path(given)
    try:
        return Path.home() / ".cache" / "mvcn"
    except RuntimeError:
        LOG.warning("You have no home folder for a cache: %s.", IN_MEMORY)
        return None


def warn_of_cache(folder: Path, error: Exception) -> None:
    """Warn that a cache cannot be used, and what happens instead."""
    LOG.warning("The cache %s cannot be used (%s): %s.", folder, reason_of(error), IN_MEMORY)


def encoder_fingerprint(encoder: PreTrainedModel, image_processor: Any) -> str:
    """Return a digest of all that determines a feature: weights, sizes and preprocessing."""
    digest = hashlib.blake2b(CACHE_FORMAT, digest_size=16)
    digest.update(encoder.config.model_type.encode())
    digest.update(image_processor.to_json_string().encode())
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def image_inputs(model: MvcnForClassification, processor: MvcnProcessor) -> ImageInputs | None:
    """Return cached features for a model with a frozen image encoder, else pixels.

    None for a model that reads no images: they are not opened, so none can be bad.
    """
    if model.image_encoder is None:
        return None
    if model.image_encoder_is_frozen:
        return ImageFeatures(model, processor, default_cache_root())
    return ImagePixels(processor)


def pixel_inputs(network: str, processor: MvcnProcessor, keep: bool = True) -> ImagePixels | None:
    """Return pixels for a network of `MODELS` that reads images; see `ImagePixels` for `keep`."""
    return ImagePixels(processor, keep) if system(network).reads_image else None


def _write_cache_file(folder: Path, digests: Sequence[str], features: np.ndarray) -> Path:
    """Write a cache file and return the path of its digests; leave nothing after an error."""
    stem = uuid.uuid4().hex
    partial, array = folder / f"{stem}.partial", folder / f"{stem}.npy"
    try:
        with partial.open("wb") as file:
            np.save(file, features)
        partial.rename(array)
        partial.write_text("\n".join(digests), "ascii")
        return partial.rename(folder / f"{stem}.txt")
    except OSError:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
            array.unlink(missing_ok=True)
        raise
