"""What a model reads of images: pixels, or features of a frozen encoder from a cache on disk."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from tqdm import tqdm
from transformers import PreTrainedModel

from mvcn.data.images import (
    SECONDS_UNSEEN,
    Warn,
    image_digest,
    prefetch,
    warn_of_truncated_images,
)
from mvcn.encoders.images import frozen_image_tokens
from mvcn.encoders.tokens import token_width
from mvcn.errors import BadImageError
from mvcn.inputs.feature_cache import FeatureCache, default_cache_root
from mvcn.inputs.image_graph import keep_image_graph
from mvcn.inputs.processor import MvcnProcessor
from mvcn.models.classification import MvcnForClassification
from mvcn.runtime.graphs import PIXELS, open_graph
from mvcn.runtime.images import ImageInputs, ImagePixels
from mvcn.types import ImageReference, Post
from mvcn.workers import num_threads

LOG = logging.getLogger(__name__)
CACHE_FORMAT = b"1"
CACHE_FILE_IMAGES = 128
IMAGE_THREADS = 2
"""That read images, beside the threads of PyTorch, which encode them."""


class ImageFeatures:
    """Token features of a frozen image encoder, read from the cache or computed and added to it.

    Args:
        model: A model with a frozen image encoder.
        processor: Processor of the model.
        root: Folder of all caches; without one features are held in memory.
        by_graph: Compute them by an ONNX graph, which is written if the cache has none: this takes
            seconds, and pays off for a thousand images.
    """

    input_name = "image_features"

    def __init__(
        self,
        model: MvcnForClassification,
        processor: MvcnProcessor,
        root: Path | None,
        *,
        by_graph: bool = False,
    ) -> None:
        assert model.image_encoder is not None  # else there are no features
        self._encoder = model.image_encoder
        self._processor = processor
        fingerprint = encoder_fingerprint(model.image_encoder, processor.image_processor)
        folder = None if root is None else root / "image-features" / fingerprint
        self._cache = FeatureCache(folder)
        graphs = root / "image-graphs" if by_graph and root is not None else None
        self._graph_file = None if graphs is None else graphs / f"{fingerprint}.onnx"
        self._places: dict[ImageReference, int] = {}

    def encode(self, posts: Sequence[Post]) -> dict[int, str]:
        """Make all features available; return position of a post -> what is wrong with its image.

        Interrupted work resumes after the last complete cache file.
        """
        digests, bad = self._digests_of(posts)
        files: dict[str, ImageReference] = {}
        for image, digest in digests.items():
            if digest not in self._cache:
                files.setdefault(digest, image)
        unreadable = self._extract(files)
        places = (
            (image, self._cache.place(digest))
            for image, digest in digests.items()
            if digest not in unreadable
        )
        self._places.update(places)
        why = {image: unreadable[one] for image, one in digests.items() if one in unreadable}
        return bad | {
            i: why[post.image]
            for i, post in enumerate(posts)
            if post.image is not None and post.image in why
        }

    def __getitem__(self, image: ImageReference) -> Float[np.ndarray, "patch dim"]:
        """Return the token features of an image that was encoded, in the cache's precision."""
        return self._cache.at(self._places[image])

    def blank(self) -> Float[np.ndarray, "1 dim"]:
        """Return one token of zeros."""
        return np.zeros((1, token_width(self._encoder.config)), np.float32)

    def _digests_of(
        self, posts: Sequence[Post]
    ) -> tuple[dict[ImageReference, str], dict[int, str]]:
        """Return the digests of new images, and what is wrong with those of some positions."""
        digests: dict[ImageReference, str] = {}
        bad = {}
        named = tqdm(posts, desc="Image files", unit="post", delay=SECONDS_UNSEEN)
        for position, image in enumerate(post.image for post in named):
            if image is None or image in self._places or image in digests:
                continue
            try:
                digests[image] = image_digest(image)
            except BadImageError as error:
                bad[position] = str(error)
        return digests, bad

    def _extract(self, files: Mapping[str, ImageReference]) -> dict[str, str]:
        """Fill the cache file by file; return digest of an unreadable image -> the reason.

        Args:
            files: Digest -> an image that has it.
        """
        unreadable: dict[str, str] = {}
        remarks: list[str] = []
        kept = self.kept_graph() if files else None
        graph = None if kept is None else open_graph(kept)
        read = partial(_read, self._processor, graph, remarks.append)
        threads = IMAGE_THREADS if graph is None else num_threads()
        found = prefetch(read, files.values(), ahead=CACHE_FILE_IMAGES, threads=threads)
        results = zip(files, found, strict=True)
        with tqdm(
            total=len(files), desc="Image features", unit="image", disable=not files
        ) as progress:
            while chunk := list(islice(results, CACHE_FILE_IMAGES)):
                unreadable |= {digest: why for digest, why in chunk if isinstance(why, str)}
                good = {digest: one for digest, one in chunk if isinstance(one, np.ndarray)}
                if good:
                    arrays = np.stack([*good.values()])
                    features = self._encode(arrays) if graph is None else arrays
                    self._cache.add([*good], features.astype(np.float16))
                progress.update(len(chunk))
        warn_of_truncated_images(remarks)
        return unreadable

    def kept_graph(self) -> Path | None:
        """Return the file of the graph in the cache; None without `by_graph` or if that fails."""
        if self._graph_file is None:
            return None
        pixels = torch.from_numpy(np.stack([self._processor.blank] * 2))
        is_kept = keep_image_graph(self._encoder, pixels, self._graph_file)
        return self._graph_file if is_kept else None

    def _encode(self, pixels: np.ndarray) -> np.ndarray:
        features = frozen_image_tokens(self._encoder, torch.from_numpy(pixels))
        return np.asarray(features.numpy())


def _read(
    processor: MvcnProcessor, graph: Any, warn: Warn | None, image: ImageReference
) -> np.ndarray | str:
    """Return the pixels of an image, or its features by a graph, or why it cannot be read."""
    try:
        pixels = processor.read_image(image, warn)
    except BadImageError as error:
        return str(error)
    return pixels if graph is None else graph.run(None, {PIXELS: pixels[None]})[0][0]


NOT_COMPUTED_WITH = {"_name_or_path", "architectures", "dtype", "transformers_version"}
"""Settings of an encoder that say where it is from, and in which precision it was saved."""


def encoder_fingerprint(encoder: PreTrainedModel, image_processor: Any) -> str:
    """Return a digest of all that determines a feature: weights, settings and preprocessing."""
    digest = hashlib.blake2b(CACHE_FORMAT, digest_size=16)
    settings = encoder.config.to_dict().items()
    read = {name: value for name, value in settings if name not in NOT_COMPUTED_WITH}
    digest.update(json.dumps(read, sort_keys=True, default=str).encode())
    digest.update(image_processor.to_json_string().encode())
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def image_inputs(
    model: MvcnForClassification, processor: MvcnProcessor, *, by_graph: bool = False
) -> ImageInputs | None:
    """Return cached features for a model with a frozen image encoder, else pixels.

    None for a model that reads no images: they are not opened, so none can be bad.

    Args:
        model: The model.
        processor: Its own.
        by_graph: As for `ImageFeatures`.
    """
    if model.image_encoder is None:
        return None
    if model.image_encoder_is_frozen:
        return ImageFeatures(model, processor, default_cache_root(), by_graph=by_graph)
    return ImagePixels(processor)
