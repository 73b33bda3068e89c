"""A finished run with the posts that it learned from and was judged by."""

import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from mvcn.data.labels import label_ids
from mvcn.data.posts import fingerprint
from mvcn.explain.observation import observe
from mvcn.explain.space import Space, read_space
from mvcn.explain.sparsity import Sparsity, each_normalizer, measure_sparsity
from mvcn.inputs.batches import EncodedPosts, PostEncoder
from mvcn.models.saved_tensors import save_tensors
from mvcn.nn.attention import Normalizer
from mvcn.training.run_folder import Run
from mvcn.types import BadImagePolicy, Post

LOG = logging.getLogger(__name__)
FEATURES_FILE = "train_features.safetensors"
"""Fused features of the training posts, kept in the run folder when they are first needed."""


class TrainedRun(Run):
    """A finished run, with its posts as the model reads them and where they lie in its space.

    Args:
        folder: What `mvcn.training.run.train` has written.

    Raises:
        RunError: It is not a finished run, or a file in it is damaged.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.encoder = PostEncoder.for_model(self.model, self.processor, self.attribute_model)

    @cached_property
    def dev(self) -> EncodedPosts:
        """The dev posts as the model reads them."""
        return self.encode(self.posts.dev)

    @cached_property
    def train(self) -> EncodedPosts:
        """The training posts as the model reads them."""
        return self.encode(self.posts.train)

    @cached_property
    def dev_space(self) -> Space:
        """Where the dev posts lie."""
        return self._space(self.dev)

    @cached_property
    def dev_sparsity(self) -> Mapping[Normalizer, Sparsity]:
        """How sparse the attention over the images of dev posts is, the model's own first.

        Empty for networks without text-guided units, and without images.
        """
        found = {
            name: measure_sparsity(observe(self.model, self.dev))
            for name in each_normalizer(self.model)
        }
        return {name: one for name, one in found.items() if one is not None}

    @cached_property
    def train_space(self) -> Space:
        """Where the training posts lie, computed once for each run folder."""
        place, digest = self.folder / FEATURES_FILE, fingerprint(self.train.posts)
        kept = _read_features(place, digest)
        names = self.model.class_names
        if kept is None:
            space = self._space(self.train)
            tensors = {"features": torch.from_numpy(space.features)}
            _keep_features(tensors, place, digest)
            return space
        labels = label_ids(self.train.posts, names)
        return Space(kept.numpy(), np.array(labels), names)

    def encode(
        self, posts: Sequence[Post], on_bad_image: BadImagePolicy | None = None
    ) -> EncodedPosts:
        """Return posts as the model reads them.

        Args:
            posts: Labels are not read.
            on_bad_image: What to do with an image that cannot be read; None for what the run did.

        Raises:
            BadImageError: An image cannot be read and the policy is ``error``.
        """
        policy = on_bad_image or self.config.data.on_bad_image
        return self.encoder.encode(posts, policy)

    def _space(self, posts: EncodedPosts) -> Space:
        return read_space(observe(self.model, posts), posts.posts, self.model.class_names)


def _keep_features(tensors: Mapping[str, torch.Tensor], place: Path, digest: str) -> None:
    try:
        save_tensors(tensors, place, metadata={"posts": digest})
    except (OSError, SafetensorError) as error:
        LOG.warning("%s cannot be kept (%s): it is computed anew next time.", place, error)


def _read_features(place: Path, digest: str) -> torch.Tensor | None:
    """Return the features that were kept for these posts; None without any, or of other posts."""
    try:
        with safe_open(place, "pt") as file:
            kept = file.get_tensor("features") if file.metadata()["posts"] == digest else None
    except (OSError, SafetensorError, KeyError, TypeError):
        return None
    return kept
