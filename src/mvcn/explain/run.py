"""A run with its posts in feature space, and the folder of pictures that explain it."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from tqdm import tqdm

from mvcn.data.posts import fingerprint, label_ids
from mvcn.errors import DataError
from mvcn.explain.figures import draw_attention, draw_maps, draw_post
from mvcn.explain.observation import (
    Space,
    Sparsity,
    each_normalizer,
    measure_clusters,
    measure_sparsity,
    observe,
    space_of,
)
from mvcn.explain.post import explain
from mvcn.explain.saliency import Curve, faithfulness, methods_for, most_faithful
from mvcn.files import save_tensors, write_json
from mvcn.inputs.batches import EncodedPosts, PostEncoder
from mvcn.nn.attention import Normalizer
from mvcn.outputs import remove_contents, require_output_folder
from mvcn.training.run_folder import Run
from mvcn.types import BadImagePolicy, Post, SaliencyMethod

LOG = logging.getLogger(__name__)
FEATURES_FILE = "train_features.safetensors"
"""Fused features of the training posts, stored in the run folder on first use."""
MARK = "mvcn explain"
NUMBERS = "explanation.json"
MAPS = "maps.png"
ATTENTION = "attention.png"


class TrainedRun(Run):
    """A finished run, with its posts encoded and in the feature space of its model.

    Args:
        folder: What `mvcn.training.run.train` has written.

    Raises:
        RunError: The folder is not a finished run, or a file in it is damaged.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.encoder = PostEncoder.for_model(self.model, self.processor, self.attribute_model)

    @property
    def has_dev(self) -> bool:
        """Whether a split names dev posts; otherwise an ensemble was trained on all posts."""
        return bool(self.posts.dev)

    @cached_property
    def shown(self) -> EncodedPosts:
        """The encoded posts of maps and curves: dev posts, or training posts if there are none."""
        return self.encode(self.posts.dev) if self.has_dev else self.train

    @cached_property
    def train(self) -> EncodedPosts:
        """The encoded training posts."""
        return self.encode(self.posts.train)

    @cached_property
    def shown_space(self) -> Space:
        """The feature space of the shown posts."""
        return self._space(self.shown) if self.has_dev else self.train_space

    @cached_property
    def shown_sparsity(self) -> Mapping[Normalizer, Sparsity]:
        """Normalizer -> sparsity of the attention over images of posts, the model's own first.

        Empty for networks without text-guided units, and without images.
        """
        found = {
            name: measure_sparsity(observe(self.model, self.shown))
            for name in each_normalizer(self.model)
        }
        return {name: one for name, one in found.items() if one is not None}

    @cached_property
    def train_space(self) -> Space:
        """The feature space of the training posts, computed once for each run folder."""
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
        """Encode posts for the model.

        Args:
            posts: Posts, with or without labels.
            on_bad_image: Policy for images that cannot be read; None for that of the run.

        Raises:
            BadImageError: An image cannot be read and the policy is ``error``.
        """
        policy = on_bad_image or self.config.data.on_bad_image
        return self.encoder.encode(posts, policy)

    def _space(self, posts: EncodedPosts) -> Space:
        return space_of(observe(self.model, posts), posts.posts, self.model.class_names)


def create_gallery_folder(folder: Path, *, overwrite: bool) -> None:
    """Create a folder for pictures, or raise a RunError; see `require_output_folder`."""
    is_own = (folder / NUMBERS).is_file()
    require_output_folder(folder, "explanation", is_own=is_own, overwrite=overwrite)
    remove_contents(folder, ("*.png", NUMBERS))
    folder.mkdir(parents=True, exist_ok=True)


def explain_posts(
    run: TrainedRun,
    posts: EncodedPosts,
    folder: Path,
    method: SaliencyMethod,
    space: Space | None,
    members: Sequence[int | None] | None = None,
) -> None:
    """Write a numbered picture for each post, and all numbers as JSON; arguments as `explain`."""
    train = run.train.posts if space is not None else []
    found = explain(run.model, run.processor, posts, method, space, train, members)
    entries = []
    for number, explanation in enumerate(tqdm(found, total=len(posts.posts), unit="post")):
        picture = f"{number:03d}.png"
        (folder / picture).write_bytes(draw_post(explanation))
        entries.append({"picture": picture, **explanation.to_mapping()})
    write_json(folder / NUMBERS, {"report": MARK, "run": str(run.folder), "posts": entries})


def explain_run(run: TrainedRun, folder: Path, other: TrainedRun | None, sample: int) -> None:
    """Write maps and attention of the shown posts of one run or of two, and numbers as JSON.

    Args:
        run: The run.
        folder: Created by `create_gallery_folder`.
        other: Another run on the same posts, for instance without the constraint.
        sample: Number of posts with an image to measure faithfulness on; 0 for none.

    Raises:
        DataError: The two runs were evaluated on other posts, or have other classes.
    """
    runs = {run.folder.name: run}
    if other is not None:
        _require_comparable(run, other)
        names = [one.folder.name for one in (run, other)]
        if names[0] == names[1]:
            names = [str(one.folder) for one in (run, other)]
        runs = dict(zip(names, (run, other), strict=True))
    (folder / MAPS).write_bytes(draw_maps({name: one.shown_space for name, one in runs.items()}))
    pictures = {"maps": MAPS}
    sparsities = {name: one.shown_sparsity for name, one in runs.items() if one.shown_sparsity}
    if sparsities:
        (folder / ATTENTION).write_bytes(draw_attention(sparsities))
        pictures["attention"] = ATTENTION
    entries = {name: run_numbers(one, sample) for name, one in runs.items()}
    write_json(folder / NUMBERS, {"report": MARK, **pictures, "runs": entries})


def _require_comparable(run: TrainedRun, other: TrainedRun) -> None:
    if other.folder.resolve() == run.folder.resolve():
        raise DataError(f"{other.folder} is the run itself: compare it with another run.")
    ids = [[post.id for post in one.posts.dev or one.posts.train] for one in (run, other)]
    if ids[0] != ids[1]:
        raise DataError(
            f"{other.folder} was evaluated on other posts than {run.folder}: compare runs with "
            "the same dev posts."
        )
    if list(other.model.class_names) != list(run.model.class_names):
        raise DataError(
            f"{other.folder} has other classes than {run.folder}: compare runs with the same "
            "classes."
        )


def run_numbers(run: TrainedRun, sample: int) -> dict[str, Any]:
    """Return the clusters of a run, and the faithfulness of its explanations, on shown posts."""
    own = next(iter(run.shown_sparsity.values()), None)
    clusters = measure_clusters(run.shown_space)
    return {
        "posts": len(run.shown_space.labels),
        "split": "dev" if run.has_dev else "train",
        "clusters": None if clusters is None else dataclasses.asdict(clusters),
        "zeros_in_attention": None if own is None else own.zeros,
        **(measure_faithfulness(run, sample) if sample else {}),
    }


def measure_faithfulness(run: TrainedRun, sample: int) -> dict[str, Any]:
    """Return the faithfulness of each method on the first shown posts with an image."""
    shown = [post for post in run.shown.posts if post.image is not None][:sample]
    if not shown or run.model.image_encoder is None:
        return {}
    curves = faithfulness(run.model, run.encode(shown), methods_for(run.model))
    return {
        "faithfulness": {"posts": len(shown), **curve_numbers(curves)},
        "most_faithful": most_faithful(curves),
    }


def curve_numbers(curves: Mapping[str, Curve]) -> dict[str, Any]:
    """Return curves as plain values."""
    return {
        name: {
            "gap": curve.gap,
            "interval": list(curve.interval),
            "deletion": curve.deletion.tolist(),
            "insertion": curve.insertion.tolist(),
        }
        for name, curve in curves.items()
    }


def _keep_features(tensors: Mapping[str, torch.Tensor], place: Path, digest: str) -> None:
    try:
        save_tensors(tensors, place, metadata={"posts": digest})
    except (OSError, SafetensorError) as error:
        LOG.warning(
            "%s cannot be written (%s), so it will be computed again next time.", place, error
        )


def _read_features(place: Path, digest: str) -> torch.Tensor | None:
    """Return the stored features of these posts; None if there are none or of other posts."""
    try:
        with safe_open(place, "pt") as file:
            kept = file.get_tensor("features") if file.metadata()["posts"] == digest else None
    except (OSError, SafetensorError, KeyError, TypeError):
        return None
    return kept
