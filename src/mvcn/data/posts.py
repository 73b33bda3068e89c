"""Posts checked before use: their types, the numbers of their labels, and a fingerprint."""

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from mvcn.data.formats.rows import is_missing
from mvcn.data.image_references import image_reference
from mvcn.data.text import replace_surrogates
from mvcn.errors import DataError, count_of
from mvcn.types import Post

LOGGER = logging.getLogger(__name__)
NO_LABEL = -1
SHOWN_IDS = 3
FEWEST_POSTS_OF_CLASS = 5
"""Below it, a class can hardly be learned, which audit and training say."""
SHOWN_CLASSES = 5
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
        example = f", such as post {replaced[0][0]!r}" if len(read) > 1 else ""
        LOGGER.warning(
            "In the text of %s%s, %s replaced by U+FFFD.",
            *(count_of(len(replaced), "post"), example),
            count_of(
                sum(count for _, count in replaced), "lone surrogate is", "lone surrogates are"
            ),
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
        raise DataError(f"The text of a post must be a string, not {type(text).__name__}.")
    return str(text)  # not a subclass such as numpy.str_


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


def fingerprint(posts: Iterable[Post]) -> str:
    """Return a digest of the posts' ids, texts and labels, in order.

    Equal digests mean that two runs or files are about the same posts.
    """
    digest = hashlib.blake2b(digest_size=16)
    for post in posts:
        fields = (post.id, post.text, post.label, post.text_label, post.image_label)
        digest.update(repr(fields).encode())
    return digest.hexdigest()


def examples_of_ids(posts: Sequence[Post], columns: Mapping[str, str]) -> str:
    """Return the first ids of posts and their column, for the error of an unknown one.

    Args:
        posts: The posts.
        columns: Our name of a column -> its name in their file.
    """
    shown = ", ".join(repr(post.id) for post in posts[:SHOWN_IDS])
    return f"{shown} (column {columns['id']!r})" if "id" in columns else shown


def _no_posts(what: str) -> DataError:
    return DataError(
        "Posts must be a list of mvcn.types.Post, as in [Post('1', 'what a lovely day', "
        f"Path('beach.jpg'))], not {what}."
    )


def _checked(post: Post) -> tuple[Post, int]:
    """Return a checked post, and how many surrogates were replaced."""
    try:
        text, image = check_text(post.text), image_reference(post.image)
    except DataError as error:
        raise DataError(f"Post {post.id!r}: {error}") from error
    complete, *words = texts = [replace_surrogates(one) for one in (text, *post.attributes)]
    count = sum(one.num_replaced for one in texts)
    attributes = tuple(word.text for word in words)
    return replace(post, text=complete.text, image=image, attributes=attributes), count


def _unknown_label(post: Post, class_names: Sequence[str], field: LabelField) -> DataError:
    label = getattr(post, field)
    alike = [name for name in class_names if name.casefold() == label.casefold()]
    hint = (
        f": write it as '{alike[0]}', or merge such labels with --normalize-labels" if alike else ""
    )
    return DataError(
        f"Post {post.id!r} has the {field.replace('_', ' ')} '{label}', which is not one of the "
        f"model's classes, {', '.join(class_names)}{hint}."
    )


def rare_classes(counts: Mapping[str, int]) -> str:
    """Return the classes with too few posts to be learned, for a sentence; "" if there are none.

    Args:
        counts: Name of each class -> number of its posts.
    """
    rare = [
        f"'{name}' ({count_of(count, 'post')})"
        for name, count in counts.items()
        if count < FEWEST_POSTS_OF_CLASS
    ]
    more = f" and {len(rare) - SHOWN_CLASSES:,} more" if len(rare) > SHOWN_CLASSES else ""
    return ", ".join(rare[:SHOWN_CLASSES]) + more
