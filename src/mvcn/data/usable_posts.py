"""Which posts a model can go on with, and what becomes of the others: never in silence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mvcn.data.bad_images import apply_bad_image_policy
from mvcn.data.text import has_text
from mvcn.types import BadImagePolicy, Post

BOTH = ("text", "image")
WITHOUT_CONTENT = "without text and image"
"""Why posts that have neither are left out, as a count of them ends."""


@dataclass(frozen=True, slots=True)
class UsablePosts:
    """Some of many posts, told by their positions: ids may repeat."""

    posts: Sequence[Post]
    """Those to go on with, in order, without the images that cannot be read."""
    positions: Sequence[int]
    """Where each of them was among all posts."""
    bad_images: Mapping[int, str]
    """Position -> why the image cannot be read, whatever became of its post."""
    left_out: Mapping[int, str]
    """Position -> why there is nothing to read: an image that cannot be read, or none."""

    @property
    def problems(self) -> dict[int, str]:
        """Position -> why a post is left out or without its image."""
        return {**self.bad_images, **self.left_out}


def usable_posts(
    posts: Sequence[Post],
    bad: Mapping[int, str],
    policy: BadImagePolicy,
    reads: Sequence[str] = BOTH,
) -> UsablePosts:
    """Return the posts that have something to read, after what the policy does to bad images.

    Args:
        posts: All posts.
        bad: Position of a post -> what is wrong with its image.
        policy: What to do with bad images; see `apply_bad_image_policy`.
        reads: What the model reads; see `lack_of`.

    Raises:
        BadImageError: The policy is ``error`` and there is a bad image.
    """
    shown = apply_bad_image_policy(posts, bad, policy)
    kept = [i for i in range(len(posts)) if policy != "drop" or i not in bad]
    usable: dict[int, Post] = {}
    left_out: dict[int, str] = {}
    for position, post in zip(kept, shown, strict=True):
        lack = lack_of(post, reads)
        if lack is None:
            usable[position] = post
        else:
            left_out[position] = bad.get(position, lack)
    return UsablePosts(list(usable.values()), list(usable), bad, left_out)


def by_id(posts: Sequence[Post], reasons: Mapping[int, str]) -> dict[str, str]:
    """Return post id -> reason, from position -> reason."""
    return {posts[position].id: why for position, why in reasons.items()}


def lack_of(post: Post, reads: Sequence[str] = BOTH) -> str | None:
    """Return what a post lacks that a model needs, as a sentence; None where it has it.

    Args:
        post: The post.
        reads: What the model reads, as in `mvcn.models.systems`.
    """
    if not has_text(post.text) and post.image is None:
        return "There is nothing to classify: give a text, an image, or both."
    if tuple(reads) == ("text",) and not has_text(post.text):
        return "This model reads texts alone: give a text."
    if "text" not in reads and post.image is None:
        return "This model reads images alone: give an image."
    return None
