"""Posts checked before use: their types, their labels, and how bad images are handled."""

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from mvcn.data.formats.rows import is_missing, why_no_file
from mvcn.data.image_references import UnreadableImage, image_reference
from mvcn.data.images import describe_image, prefetch
from mvcn.data.text import has_text, replace_surrogates
from mvcn.errors import BadImageError, ConfigError, DataError, reason_of
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
REMEDIES = (
    "--on-bad-image blank (without image) or drop (without post), in Python on_bad_image='blank' "
    "or 'drop'"
)
NO_LABEL = -1
LabelField = Literal["label", "text_label", "image_label"]


def check_posts(posts: Iterable[Post]) -> list[Post]:
    """Return posts with text and image in the types used by the package.

    Lone surrogates in texts and attributes are replaced by U+FFFD, with a warning.

    Args:
        posts: Each with a string or a missing value as text, and an image for `image_reference`.

    Raises:
        DataError: An item is not a post, or its text or image has another type; names the post.
    """
    read = [_checked(post) for post in each_post(posts)]
    replaced = [(post.id, count) for post, count in read if count]
    if replaced:
        LOGGER.warning(
            "%d lone surrogate(s) in the text of %d post(s), such as post %s, are read as U+FFFD.",
            *(sum(count for _, count in replaced), len(replaced), replaced[0][0]),
        )
    return [post for post, _ in read]


def each_post(posts: Iterable[object]) -> Iterator[Post]:
    """Yield posts one by one.

    Raises:
        DataError: `posts` is not iterable, or an item is not a `Post`.
    """
    try:
        items = iter(posts)
    except TypeError as error:
        raise _no_posts(type(posts).__name__) from error
    for post in items:
        if not isinstance(post, Post):
            raise _no_posts(f"{type(posts).__name__} of {type(post).__name__}")
        yield post


def check_text(text: object) -> str:
    """Return a text; empty if it is missing.

    Raises:
        DataError: It is neither missing nor a string.
    """
    if is_missing(text):
        return ""
    if not isinstance(text, str):
        raise DataError(
            f"The text of a post must be a string, but is of type {type(text).__name__}."
        )
    return str(text)  # not a subclass such as numpy.str_


def fingerprint(posts: Iterable[Post]) -> str:
    """Return a digest of the posts' ids, texts and labels, in order.

    Equal digests mean that two runs or files are about the same posts.
    """
    digest = hashlib.blake2b(digest_size=16)
    for post in posts:
        fields = (post.id, post.text, post.label, post.text_label, post.image_label)
        digest.update(repr(fields).encode())
    return digest.hexdigest()


def _no_posts(what: str) -> DataError:
    return DataError(
        "Posts must be given as a list of mvcn.types.Post, as in "
        f"[Post('1', 'what a lovely day', Path('beach.jpg'))], not as {what}."
    )


def _checked(post: Post) -> tuple[Post, int]:
    """Return a checked post, and how many surrogates were replaced."""
    try:
        text, image = check_text(post.text), image_reference(post.image)
    except DataError as error:
        raise DataError(f"Post {post.id}: {error}") from error
    complete, *words = texts = [replace_surrogates(one) for one in (text, *post.attributes)]
    count = sum(one.num_replaced for one in texts)
    attributes = tuple(word.text for word in words)
    return replace(post, text=complete.text, image=image, attributes=attributes), count


def label_ids(
    posts: Sequence[Post], class_names: Sequence[str], field: LabelField = "label"
) -> list[int]:
    """Return the class number of each post's label, -1 where it has none.

    Args:
        posts: Posts.
        class_names: Classes in the order of their numbers, from 0.
        field: Which label of a post.

    Raises:
        DataError: A label is not among the classes; names the post.
    """
    numbers: dict[str | None, int] = {name: number for number, name in enumerate(class_names)}
    numbers[None] = NO_LABEL
    for post in posts:
        if getattr(post, field) not in numbers:
            raise _unknown_label(post, class_names, field)
    return [numbers[getattr(post, field)] for post in posts]


def _unknown_label(post: Post, class_names: Sequence[str], field: LabelField) -> DataError:
    label = getattr(post, field)
    alike = [name for name in class_names if name.casefold() == label.casefold()]
    hint = f", so write it as '{alike[0]}', or join labels by --normalize-labels" if alike else ""
    return DataError(
        f"Post {post.id} has the {field.replace('_', ' ')} '{label}', which the model does not "
        f"know: its classes are {', '.join(class_names)}{hint}."
    )


def require_policy(policy: object) -> None:
    """Raise a ConfigError unless `policy` is a policy for bad images."""
    if not isinstance(policy, str) or policy not in POLICIES:
        raise ConfigError(f"The option on_bad_image must be one of {', '.join(POLICIES)}.")


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
    kept = {i: post for i, post in enumerate(posts) if policy != "drop" or i not in bad}
    kept |= {i: replace(kept[i], image=None) for i in bad if i in kept}
    missing = {i: why for i, post in kept.items() if (why := missing_input(post, reads))}
    usable = {i: post for i, post in kept.items() if i not in missing}
    left_out = {i: bad.get(i, why) for i, why in missing.items()}
    return UsablePosts(list(usable.values()), list(usable), bad, left_out)


def by_id(posts: Sequence[Post], reasons: Mapping[int, str]) -> dict[str, str]:
    """Return post id -> reason, from position -> reason."""
    return {posts[position].id: why for position, why in reasons.items()}


def missing_input(post: Post, reads: Sequence[str] = BOTH) -> str | None:
    """Return a sentence on the input that a post is missing for the model; None if it is complete.

    Args:
        post: The post.
        reads: What the model reads, as in `mvcn.models.registry`.
    """
    if not has_text(post.text) and post.image is None:
        return "There is nothing to classify: give a text, an image, or both."
    if tuple(reads) == ("text",) and not has_text(post.text):
        return "This model reads texts alone: give a text."
    if "text" not in reads and post.image is None:
        return "This model reads images alone: give an image."
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
    first = [f"post {post_id}: {why}" for post_id, why in list(bad.items())[:NAMED_IN_ERROR]]
    more = f" (and {len(bad) - NAMED_IN_ERROR} more)" if len(bad) > NAMED_IN_ERROR else ""
    return BadImageError(
        f"{len(bad)} image(s) cannot be read: {' '.join(first)}{more} Correct them, {remedies}"
        f"or continue by {REMEDIES}."
    )


def missing_images(posts: Sequence[Post]) -> dict[str, str]:
    """Return post id -> why its image is missing; no file is opened."""
    reasons = {post.id: _why_missing(post.image) for post in posts if post.image is not None}
    return {post_id: reason for post_id, reason in reasons.items() if reason is not None}


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
        remedies += "take the texts alone by --text-only, "
    if len(shown) <= READ_AT_ONCE:
        facts = zip(shown, prefetch(describe_image, shown.values()), strict=True)
        bad = {post_id: fact.problem for post_id, fact in facts if fact.problem is not None}
    raise bad_image_error(bad, remedies)


def require_any_image(posts: Sequence[Post]) -> None:
    """Raise a DataError if posts have images and every one is missing."""
    bad = missing_images(posts)
    if bad and len(bad) == sum(post.image is not None for post in posts):
        first, reason = next(iter(bad.items()))
        raise DataError(
            f"None of the {len(bad)} images is there, as that of post {first}: {reason} To "
            f"continue, {_fix_for_images(posts)}, or take the texts alone by --text-only."
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
            f"{root} holds no image of its {len(missing)} posts, such as {missing[0]}.jpg: name "
            "the folder of the images by --images FOLDER, or take the texts alone by --text-only."
        )
    if missing:
        LOGGER.warning(
            "%s holds no image of %d of its %d posts, such as %s: they count as texts alone.",
            *(root, len(missing), len(missing) + shown, missing[0]),
        )
    named = shown + len(missing) + len(corpus.faulty_images)
    found = shown - len(missing_images(corpus.posts))
    if FEW * found < named:
        LOGGER.warning("Only %d of the %d images of %s are found.", found, named, root)


def _fix_for_images(posts: Sequence[Post]) -> str:
    """Return how to fix missing images; those of MVSA belong into a folder next to its labels."""
    from mvcn.data.datasets.mvsa import LABEL_FILE  # here, since no other dataset needs it

    folders = dict.fromkeys(post.image.parent for post in posts if isinstance(post.image, Path))
    for folder in folders:
        if (folder.parent / LABEL_FILE).is_file():
            return f"put the images into {folder}, next to {LABEL_FILE}"
    return "name the folder of the images by --images FOLDER"
