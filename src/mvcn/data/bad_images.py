"""What happens to posts whose image cannot be read: never in silence."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from mvcn.errors import BadImageError, ConfigError
from mvcn.types import BadImagePolicy, Post, StoredImage

LOGGER = logging.getLogger(__name__)

POLICIES = get_args(BadImagePolicy)
NAMED_IN_ERROR = 10
NAMED_IN_WARNING = 3
WAYS_ON = (
    "--on-bad-image blank (without image) or drop (without post), in Python on_bad_image='blank' "
    "or 'drop'"
)


@dataclass(frozen=True, slots=True)
class UnreadableImage(StoredImage):
    """Stands for what a source gives as an image and nobody can or may read, such as an address."""

    name: str
    """As the source has it."""
    reason: str
    """Why it is not read, and what to do, as a sentence that says where."""

    def __str__(self) -> str:
        return self.name

    def read(self) -> bytes:
        """Raise a BadImageError with the reason."""
        raise BadImageError(self.reason)


def require_policy(policy: object) -> None:
    """Raise a ConfigError where a program gives something else as the policy for bad images."""
    if not isinstance(policy, str) or policy not in POLICIES:
        raise ConfigError(f"The option on_bad_image is none of {', '.join(POLICIES)}.")


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
        raise bad_image_error({posts[position].id: why for position, why in bad.items()})
    if policy == "drop":
        return [post for position, post in enumerate(posts) if position not in bad]
    return [dataclasses.replace(p, image=None) if i in bad else p for i, p in enumerate(posts)]


def warn_of_truncated_images(remarks: Sequence[str]) -> None:
    """Log how many images are read though their last bytes are missing, and the first of them.

    Args:
        remarks: A sentence an image, as `open_image` gives it.
    """
    if remarks:
        first = " ".join(remarks[:NAMED_IN_WARNING])
        rest = len(remarks) - NAMED_IN_WARNING
        more = f" (and {rest} more)" if rest > 0 else ""
        LOGGER.warning("%d truncated image(s) are used: %s%s", len(remarks), first, more)


def bad_image_error(bad: Mapping[str, str], ways_on: str = "") -> BadImageError:
    """Return the error that names the first posts with a bad image and counts all.

    Args:
        bad: Post id -> what is wrong with its image.
        ways_on: What else can be done, to stand before ``or go on``.
    """
    first = [f"post {post_id}: {why}" for post_id, why in list(bad.items())[:NAMED_IN_ERROR]]
    more = f" (and {len(bad) - NAMED_IN_ERROR} more)" if len(bad) > NAMED_IN_ERROR else ""
    return BadImageError(
        f"{len(bad)} image(s) cannot be read: {' '.join(first)}{more} Correct them, {ways_on}"
        f"or go on by {WAYS_ON}."
    )
