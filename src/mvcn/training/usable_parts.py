"""The train and dev posts that a network can learn from, and what a report says of the others."""

from collections.abc import Mapping, Sequence
from typing import Any

from mvcn.data.training_posts import TrainingPosts
from mvcn.data.usable_posts import UsablePosts, by_id, usable_posts
from mvcn.inputs.images import ImageInputs
from mvcn.types import BadImagePolicy

NOTHING_TO_READ = "without anything that the model reads"


def usable_parts(
    posts: TrainingPosts, images: ImageInputs, policy: BadImagePolicy, reads: Sequence[str]
) -> dict[str, UsablePosts]:
    """Return the train and dev posts to go on with.

    Args:
        posts: Train and dev posts.
        images: What reads their images.
        policy: What to do with bad images.
        reads: What the network reads, as in `mvcn.models.systems`.

    Raises:
        BadImageError: The policy is ``error`` and there is a bad image.
    """
    parts = {"train": posts.train, "dev": posts.dev}
    bad = {name: images.prepare(part) for name, part in parts.items()}
    return {name: usable_posts(part, bad[name], policy, reads) for name, part in parts.items()}


def report_of_others(posts: TrainingPosts, usable: Mapping[str, UsablePosts]) -> dict[str, Any]:
    """Return what a report says of posts that were left out or lost their image."""
    parts = {"train": posts.train, "dev": posts.dev}
    left_out = {name: by_id(parts[name], one.left_out) for name, one in usable.items()}
    removed = {reason: len(ids) for reason, ids in posts.removed.items()}
    if count := sum(map(len, left_out.values())):
        removed[NOTHING_TO_READ] = count
    bad_images = {name: by_id(parts[name], one.bad_images) for name, one in usable.items()}
    return {"removed": removed, "bad_images": bad_images, "left_out": left_out}
