"""The policy for bad images, and which posts are usable under it."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from tqdm import tqdm

from mvcn.data.formats.rows import why_no_file
from mvcn.data.image_references import UnreadableImage
from mvcn.data.images import DECODED_SIZE_PX, SECONDS_UNSEEN, open_image, prefetch
from mvcn.data.text import has_text
from mvcn.errors import REMEDIES, BadImageError, ConfigError, DataError, count_of, reason_of
from mvcn.types import BadImagePolicy, Corpus, ImageReference, Post

LOGGER = logging.getLogger(__name__)

POLICIES = get_args(BadImagePolicy)
NAMED_IN_ERROR = 10
FEW = 2
"""A warning is logged where fewer than one of this many images are found."""
READ_AT_ONCE = 256
"""Images that decode in about a second, so that one error can name every bad one."""
BOTH = ("text", "image")
WITHOUT_CONTENT = "without text and image"
"""Reason, in counts of posts that are left out, for those that have neither."""


def require_policy(policy: object) -> None:
    """Raise a ConfigError unless `policy` is a policy for bad images."""
    if not isinstance(policy, str) or policy not in POLICIES:
        raise ConfigError(f"on_bad_image must be one of {', '.join(POLICIES)}.")


@dataclass(frozen=True, slots=True)
class UsablePosts:
    """The posts that can be used, identified by position, since ids may repeat."""

    posts: Sequence[Post]
    """Posts to continue with, in order, without images that cannot be read."""
    positions: Sequence[int]
    """Position of each of them among all posts."""
    bad_images: Mapping[int, str]
    """Position -> why the image cannot be read, whether or not its post is kept."""
    left_out: Mapping[int, str]
    """Position -> why a post has no input: its image cannot be read, or there is none."""

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
    """Apply the policy for bad images, and return the posts that the model can read.

    Args:
        posts: All posts.
        bad: Position of a post -> what is wrong with its image.
        policy: ``error`` stops, ``blank`` continues without the image, ``drop`` without the post.
        reads: What the model reads; see `missing_input`.

    Raises:
        BadImageError: The policy is ``error`` and there is a bad image; names the first posts.
    """
    if bad and policy == "error":
        raise bad_image_error(by_id(posts, bad))
    shown = [replace(post, image=None) if i in bad else post for i, post in enumerate(posts)]
    dropped: Collection[int] = bad if policy == "drop" else ()
    left_out = {
        i: bad.get(i, why)
        for i, post in enumerate(shown)
        if i not in dropped and (why := missing_input(post, reads))
    }
    if not dropped and not left_out:
        return UsablePosts(shown, range(len(shown)), bad, left_out)
    positions = [i for i in range(len(shown)) if i not in dropped and i not in left_out]
    return UsablePosts([shown[i] for i in positions], positions, bad, left_out)


def by_id(posts: Sequence[Post], reasons: Mapping[int, str]) -> dict[str, str]:
    """Return post id -> reason, from position -> reason."""
    return {posts[position].id: why for position, why in reasons.items()}


def missing_input(post: Post, reads: Sequence[str] = BOTH) -> str | None:
    """Return a sentence on the input that a post is missing for the model; None if it is complete.

    Args:
        post: The post.
        reads: What the model reads, as in `mvcn.models.registry`.
    """
    if tuple(reads) == ("text",) and not has_text(post.text):
        return "This model reads only text: add a text."
    if "text" not in reads and post.image is None:
        return "This model reads only images: add an image."
    if not has_text(post.text) and post.image is None:
        return "The post has neither text nor image: add one of them."
    return None


def require_content(post: Post, reads: Sequence[str]) -> None:
    """Raise a DataError if a post is missing the input of a model; see `missing_input`."""
    missing = missing_input(post, reads)
    if missing is not None:
        raise DataError(missing)


def bad_image_error(bad: Mapping[str, str], remedies: str = "") -> BadImageError:
    """Return the error that names the first posts with a bad image and counts all.

    Args:
        bad: Post id -> what is wrong with its image.
        remedies: Other remedies, inserted before ``or continue``.
    """
    first = [f"post {post_id!r}: {why}" for post_id, why in list(bad.items())[:NAMED_IN_ERROR]]
    more = [f"and {len(bad) - NAMED_IN_ERROR} more."] if len(bad) > NAMED_IN_ERROR else []
    lines = "".join(f"\n  {line}" for line in (*first, *more)) + "\n"
    listed, them = (f" {first[0]} ", "it") if len(bad) == 1 else (lines, "them")
    return BadImageError(
        f"{count_of(len(bad), 'image')} cannot be read:{listed}Fix {them}, {remedies}or continue "
        f"with {REMEDIES}."
    )


def missing_images(posts: Sequence[Post]) -> dict[str, str]:
    """Return post id -> why its image is missing; no file is opened."""
    is_quick = len(posts) <= READ_AT_ONCE
    named = tqdm(posts, "Image paths", unit="post", delay=SECONDS_UNSEEN, disable=is_quick)
    return {
        post.id: reason
        for post in named
        if post.image is not None and (reason := _why_missing(post.image)) is not None
    }


def _why_missing(image: ImageReference) -> str | None:
    if isinstance(image, UnreadableImage):
        return image.reason
    if not isinstance(image, Path):
        return None
    try:
        if image.is_file():
            return None
        reason = why_no_file(image)
    except (OSError, ValueError) as error:
        reason = reason_of(error)
    return f"Image {image} cannot be opened ({reason}): check its path."


def require_images(posts: Sequence[Post], policy: BadImagePolicy) -> None:
    """Raise an error if required images are missing; they are not decoded for this check.

    Args:
        posts: All posts.
        policy: How posts with a bad image are handled; see `usable_posts`.

    Raises:
        BadImageError: The policy is ``error`` and an image is missing. For few posts, the error
            also names images that exist but cannot be decoded.
    """
    if policy != "error" or not (bad := missing_images(posts)):
        return
    remedies = f"{_fix_for_images(posts)}, "
    shown = {post.id: post.image for post in posts if post.image is not None}
    if FEW * (len(shown) - len(bad)) < len(shown):
        remedies += "use only the texts with --text-only, "
    if len(shown) <= READ_AT_ONCE:
        problems = zip(shown, prefetch(_problem, shown.values()), strict=True)
        bad = {post_id: problem for post_id, problem in problems if problem is not None}
    raise bad_image_error(bad, remedies)


def _problem(image: ImageReference) -> str | None:
    """Return why an image cannot be used."""
    try:
        open_image(image, DECODED_SIZE_PX, warn=None)
    except BadImageError as error:
        return str(error)
    return None


def require_any_image(posts: Sequence[Post]) -> None:
    """Raise a DataError if posts have images and every one is missing."""
    bad = missing_images(posts)
    if bad and len(bad) == sum(post.image is not None for post in posts):
        first, reason = next(iter(bad.items()))
        raise DataError(
            f"None of the {len(bad)} images can be found; the first is that of post {first!r}: "
            f"{reason} To continue, {_fix_for_images(posts)}, or use only the texts with "
            "--text-only."
        )


def warn_of_missing_images(corpus: Corpus, root: Path) -> None:
    """Warn if a dataset has no image for some ids, or if most of its images are missing.

    Args:
        corpus: The posts.
        root: Folder or file of the dataset.

    Raises:
        DataError: The dataset finds images by post id and contains none.
    """
    missing = corpus.missing_images
    shown = sum(post.image is not None for post in corpus.posts)
    if missing and not shown:
        raise DataError(
            f"{root} has no image for any of its {len(missing)} posts, such as {missing[0]}.jpg: "
            "pass the folder that holds them with --images FOLDER, or use only the texts with "
            "--text-only."
        )
    if missing:
        LOGGER.warning(
            "%s has no image for %d of its %d posts, such as %s: only their texts are used.",
            *(root, len(missing), len(missing) + shown, missing[0]),
        )
    told = sum(isinstance(post.image, UnreadableImage) for post in corpus.posts)  # by themselves
    named = shown + len(missing) + len(corpus.faulty_images) - told
    found = shown - len(missing_images(corpus.posts))
    if FEW * found < named:
        LOGGER.warning(
            "Only %d of the %d images of %s were found: if they are elsewhere, pass their folder "
            "with --images FOLDER.",
            *(found, named, root),
        )


def _fix_for_images(posts: Sequence[Post]) -> str:
    """Return how to fix missing images; those of MVSA belong into a folder next to its labels."""
    from mvcn.data.datasets.mvsa import LABEL_FILE  # here, since no other dataset needs it

    folders = dict.fromkeys(post.image.parent for post in posts if isinstance(post.image, Path))
    for folder in folders:
        if (folder.parent / LABEL_FILE).is_file():
            return f"put the images into {folder}, next to {LABEL_FILE}"
    return "pass the folder that holds them with --images FOLDER"
