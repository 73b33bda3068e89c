"""Posts as programs make them: with missing values, and with paths and pictures as images."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace

from mvcn.data.formats.cells import is_missing
from mvcn.data.image_references import image_reference
from mvcn.data.text import replace_surrogates
from mvcn.errors import DataError
from mvcn.types import Post

LOG = logging.getLogger(__name__)


def given_posts(posts: Iterable[Post]) -> list[Post]:
    """Return posts whose text and image are of the types that are read.

    Lone surrogates in texts and attributes become U+FFFD, which is logged as a warning.

    Args:
        posts: Their text is a string or missing, their image anything that `image_reference` takes.

    Raises:
        DataError: A post is none, or a text or an image is something else; names the post.
    """
    read = [_given_post(post) for post in each_post(posts)]
    replaced = [(post.id, count) for post, count in read if count]
    if replaced:
        LOG.warning(
            "%d lone surrogate(s) in the text of %d post(s), such as post %s, are read as U+FFFD.",
            sum(count for _, count in replaced),
            len(replaced),
            replaced[0][0],
        )
    return [post for post, _ in read]


def each_post(posts: Iterable[object]) -> Iterator[Post]:
    """Yield posts as they come.

    Raises:
        DataError: They are no iterable, or something in it is no `Post`.
    """
    try:
        given = iter(posts)
    except TypeError as error:
        raise DataError(_no_posts(type(posts).__name__)) from error
    for post in given:
        if not isinstance(post, Post):
            raise DataError(_no_posts(f"{type(posts).__name__} of {type(post).__name__}"))
        yield post


def _no_posts(what: str) -> str:
    return (
        "Posts must be given as a list of mvcn.types.Post, as in "
        f"[Post('1', 'what a lovely day', Path('beach.jpg'))], not as {what}."
    )


def given_text(text: object) -> str:
    """Return a text, which is empty where it is missing.

    Raises:
        DataError: It is neither missing nor a string.
    """
    if is_missing(text):
        return ""
    if not isinstance(text, str):
        raise DataError(
            f"The text of a post must be a string, but is of type {type(text).__name__}."
        )
    return str(text)  # without a subclass such as that of NumPy


def _given_post(post: Post) -> tuple[Post, int]:
    """Return a post with the types that are read, and how many surrogates were replaced."""
    try:
        text, image = given_text(post.text), image_reference(post.image)
    except DataError as error:
        raise DataError(f"Post {post.id}: {error}") from error
    whole = [replace_surrogates(part) for part in (text, *post.attributes)]
    text, *words = (one.text for one in whole)
    count = sum(one.num_replaced for one in whole)
    return replace(post, text=text, image=image, attributes=tuple(words)), count
