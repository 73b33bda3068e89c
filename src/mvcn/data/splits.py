"""Which posts a model learns from, is chosen by and is judged on."""

import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from mvcn.errors import DataError, reason_of
from mvcn.types import Corpus, Post

NAMED_IN_ERROR = 5


def read_ids(path: Path) -> list[str]:
    """Read one post id a line, in order; blank lines do not count.

    Raises:
        DataError: Not a readable UTF-8 file, no id in it, or the same id twice.
    """
    line_of: dict[str, int] = {}
    for number, line in enumerate(_read_lines(path), start=1):
        post_id = line.strip()
        if post_id in line_of:
            raise DataError(
                f"{path}, line {number}: id {post_id!r} is on line {line_of[post_id]} already, "
                "so delete one of them."
            )
        if post_id:
            line_of[post_id] = number
    if not line_of:
        raise DataError(f"{path} holds no ids: write one post id a line.")
    return list(line_of)


def select_posts(corpus: Corpus, ids: Sequence[str], source: str) -> list[Post]:
    """Return the posts with these ids, in the order of `ids`.

    Args:
        corpus: Where the posts are.
        ids: Ids of posts.
        source: Where the ids come from, for errors.

    Raises:
        DataError: An id that the corpus does not have or that its own rules removed.
    """
    for reason, removed in corpus.removed.items():
        taken_out = set(removed).intersection(ids)
        if taken_out:
            named = _shown([post_id for post_id in ids if post_id in taken_out])
            raise DataError(
                f"{source} names posts that the data set removes as {reason} ({named}): "
                "take them off the list."
            )
    by_id = {post.id: post for post in corpus.posts}
    unknown = [post_id for post_id in ids if post_id not in by_id]
    if unknown:
        raise DataError(
            f"{source} names posts that the data set does not have ({_shown(unknown)}): "
            "check that list and data set belong together."
        )
    return [by_id[post_id] for post_id in ids]


def stratified_split(
    posts: Sequence[Post], shares: Mapping[str, float], seed: int
) -> dict[str, list[Post]]:
    """Deal the posts of each class out at random, so that every part has the classes' proportions.

    Each part gets its share of each class to within one post, by largest remainder: a class with
    few posts may lack in a part with a small share.

    Args:
        posts: Labelled posts; each part keeps their order.
        shares: Name of a part -> its share of the posts; above 0, summing to 1.
        seed: Decides who goes where, together with the order of `posts` and nothing else.

    Raises:
        DataError: A post without a label, a class with fewer posts than parts, or wrong shares.
    """
    if any(share <= 0 for share in shares.values()) or not math.isclose(sum(shares.values()), 1):
        raise DataError(f"Shares of a split must be above 0 and sum to 1, but are {dict(shares)}.")
    generator = random.Random(seed)
    part_of: dict[int, str] = {}
    for label, indices in _indices_by_label(posts).items():
        if len(indices) < len(shares):
            raise DataError(
                f"Class {label!r} has {len(indices)} post(s), too few for the {len(shares)} parts "
                f"{', '.join(shares)}: add posts or give split files."
            )
        generator.shuffle(indices)
        sizes = _part_sizes(len(indices), list(shares.values()))
        names = [name for name, size in zip(shares, sizes, strict=True) for _ in range(size)]
        part_of.update(zip(indices, names, strict=True))
    return {name: [post for i, post in enumerate(posts) if part_of[i] == name] for name in shares}


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read ({reason_of(error)}): "
            "give a UTF-8 text file with one post id a line."
        ) from error


def _shown(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - NAMED_IN_ERROR} more" if len(ids) > NAMED_IN_ERROR else ""
    return ", ".join(ids[:NAMED_IN_ERROR]) + more


def _indices_by_label(posts: Sequence[Post]) -> dict[str, list[int]]:
    """Return the positions of each class's posts, classes in alphabetical order."""
    indices: dict[str, list[int]] = {}
    for i, post in enumerate(posts):
        if post.label is None:
            raise DataError(f"Post {post.id!r} has no label, so it cannot be put into a split.")
        indices.setdefault(post.label, []).append(i)
    return dict(sorted(indices.items()))


def _part_sizes(count: int, shares: Sequence[float]) -> list[int]:
    """Return whole numbers near ``count * share`` that sum to `count`, by largest remainder."""
    quotas = [count * share for share in shares]
    sizes = [math.floor(quota) for quota in quotas]
    by_remainder = sorted(range(len(shares)), key=lambda part: sizes[part] - quotas[part])
    for part in by_remainder[: count - sum(sizes)]:
        sizes[part] += 1
    return sizes
