"""What happens to posts whose image cannot be read: never in silence."""

import dataclasses
from collections.abc import Mapping, Sequence

from mvcn.config import BadImagePolicy
from mvcn.errors import BadImageError
from mvcn.types import Post

NAMED_IN_ERROR = 3


def apply_bad_image_policy(
    posts: Sequence[Post], bad: Mapping[int, str], policy: BadImagePolicy
) -> list[Post]:
    """Return the posts to go on with.

    Args:
        posts: Posts of one source.
        bad: Position of a post -> what is wrong with its image.
        policy: ``error`` stops, ``blank`` goes on without the image, ``drop`` without the post.

    Raises:
        BadImageError: The policy is ``error`` and there is a bad image; names the first posts.
    """
    if not bad:
        return list(posts)
    if policy == "error":
        raise BadImageError(_explain(posts, bad))
    if policy == "drop":
        return [post for position, post in enumerate(posts) if position not in bad]
    return [dataclasses.replace(p, image=None) if i in bad else p for i, p in enumerate(posts)]


def _explain(posts: Sequence[Post], bad: Mapping[int, str]) -> str:
    first = [f"post {posts[i].id}: {why}" for i, why in list(bad.items())[:NAMED_IN_ERROR]]
    more = f" (and {len(bad) - NAMED_IN_ERROR} more)" if len(bad) > NAMED_IN_ERROR else ""
    return (
        f"{len(bad)} image(s) cannot be read: {' '.join(first)}{more} "
        "Mend them, or go on by --on-bad-image blank (without image) or drop (without post)."
    )
