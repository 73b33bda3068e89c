"""Whether the images of posts are there, found out before anything is computed from them."""

import logging
from collections.abc import Sequence
from pathlib import Path

from mvcn.data.bad_images import UnreadableImage, bad_image_error
from mvcn.data.datasets.mvsa import LABEL_FILE
from mvcn.data.formats.rows import why_no_file
from mvcn.data.image_facts import describe_image
from mvcn.data.read_ahead import read_ahead
from mvcn.errors import DataError, reason_of
from mvcn.types import BadImagePolicy, Corpus, ImageReference, Post

LOG = logging.getLogger(__name__)

FEW = 2
"""Less than one of so many images found is few: it calls for a warning."""
READ_AT_ONCE = 256
"""Images that take a second or so to decode, so that one error can name all that is wrong."""


def missing_images(posts: Sequence[Post]) -> dict[str, str]:
    """Return post id -> why its image is not there; no file is opened."""
    bad = {}
    for post in posts:
        reason = None if post.image is None else _why_missing(post.image)
        if reason is not None:
            bad[post.id] = reason
    return bad


def require_images(posts: Sequence[Post], policy: BadImagePolicy) -> None:
    """Raise an error where images are not there and must be; nothing is decoded for it.

    Args:
        posts: All that is to be worked on.
        policy: What is to happen to posts with a bad image.

    Raises:
        BadImageError: The policy is ``error`` and an image is not there. Of few posts, the error
            also names the images that are there and cannot be decoded.
    """
    if policy != "error":
        return
    bad = missing_images(posts)
    if not bad:
        return
    ways_on = f"{_way_to_images(posts)}, "
    shown = {post.id: post.image for post in posts if post.image is not None}
    if FEW * (len(shown) - len(bad)) < len(shown):
        ways_on += "take the texts alone by --text-only, "
    if len(shown) <= READ_AT_ONCE:
        facts = zip(shown, read_ahead(describe_image, shown.values()), strict=True)
        bad = {post_id: fact.problem for post_id, fact in facts if fact.problem is not None}
    raise bad_image_error(bad, ways_on)


def require_any_image(posts: Sequence[Post]) -> None:
    """Raise a DataError where posts have images and none of them is there."""
    bad = missing_images(posts)
    if bad and len(bad) == sum(post.image is not None for post in posts):
        first, reason = next(iter(bad.items()))
        raise DataError(
            f"None of the {len(bad)} images is there, as that of post {first}: {reason} To go on, "
            f"{_way_to_images(posts)}, or take the texts alone by --text-only."
        )


def tell_missing_images(corpus: Corpus, root: Path) -> None:
    """Warn where images of a source are not there: a few by the id alone, or most in any case.

    Args:
        corpus: The posts.
        root: Where they come from.

    Raises:
        DataError: The source knows its images by the id alone and holds none of them.
    """
    by_id = corpus.missing_images
    shown = sum(post.image is not None for post in corpus.posts)
    if by_id and not shown:
        raise DataError(
            f"{root} holds no image of its {len(by_id)} posts, such as {by_id[0]}.jpg: name the "
            "folder of the images by --images FOLDER, or take the texts alone by --text-only."
        )
    if by_id:
        LOG.warning(
            "%s holds no image of %d of its %d posts, such as %s: they count as texts alone.",
            *(root, len(by_id), len(by_id) + shown, by_id[0]),
        )
    named = shown + len(by_id) + len(corpus.faulty_images)
    found = shown - len(missing_images(corpus.posts))
    if FEW * found < named:
        LOG.warning("Only %d of the %d images of %s are found.", found, named, root)


def _way_to_images(posts: Sequence[Post]) -> str:
    """Return what to do so that images are found; MVSA has them in a folder of its own."""
    folders = dict.fromkeys(post.image.parent for post in posts if isinstance(post.image, Path))
    for folder in folders:
        if (folder.parent / LABEL_FILE).is_file():
            return f"put the images into {folder}, beside {LABEL_FILE}"
    return "name the folder of the images by --images FOLDER"


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
    return f"Image {image} cannot be opened ({reason}): correct its path."
