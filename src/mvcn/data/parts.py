"""The parts of a source, train, dev and test, under the names that people give them."""

import logging
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from mvcn.errors import DataError
from mvcn.types import Corpus

PARTS = ("train", "dev", "test")
WORDS = {
    "train": "train",
    "training": "train",
    "dev": "dev",
    "development": "dev",
    "val": "dev",
    "valid": "dev",
    "validation": "dev",
    "eval": "dev",
    "evaluation": "dev",
    "test": "test",
    "testing": "test",
}
"""What others call the parts -> what we call them."""
NO_PART = "in no part"

SEPARATORS = re.compile(r"[-_.\s]+")
NAME = re.compile(
    rf"(?P<word>{'|'.join(sorted(WORDS, key=len, reverse=True))})(?:_?set|_split|_data)?"
    r"(?P<piece>(?:_seen|_unseen)?(?:_[0-9]+_of_[0-9]+)?)"
)
NAMES_SHOWN = 5

_logger = logging.getLogger(__name__)
_Item = TypeVar("_Item")


def part_of(name: str) -> str | None:
    """Return ``train``, ``dev`` or ``test`` for a name that means one of them, else None.

    Upper or lower case, and what separates the words of a name, make no difference; ``_set``, as
    in ``testing_set``, ``_seen`` and ``_unseen``, and the numbers of a shard, as in
    ``train-00000-of-00002``, may follow.
    """
    match = _match(name)
    return WORDS[match["word"]] if match else None


def _match(name: str) -> re.Match[str] | None:
    return NAME.fullmatch(SEPARATORS.sub("_", name.strip().lower()))


def group_by_part(items: Iterable[tuple[str, _Item]], source: str) -> dict[str, list[_Item]]:
    """Return part -> what makes it up, in the order train, dev, test; other names are left out.

    Several names make up one part where they say that they are pieces of it, such as ``dev_seen``
    and ``dev_unseen``, or two shards. Names other than ours are logged with how they are read.

    Args:
        items: Name of a part of the source -> what it stands for.
        source: Where the parts are, for errors.

    Raises:
        DataError: Two names mean one part and are not pieces of it, such as ``dev`` and ``val``.
    """
    named: dict[str, list[tuple[str, _Item]]] = {}
    for name, item in items:
        if part := part_of(name):
            named.setdefault(part, []).append((name, item))
    for part, found in named.items():
        _require_pieces([name for name, _ in found], part, source)
    return {part: [item for _, item in named[part]] for part in PARTS if part in named}


def _require_pieces(names: list[str], part: str, source: str) -> None:
    matches = [match for name in names if (match := _match(name))]
    words, pieces = ([match[group] for match in matches] for group in ("word", "piece"))
    are_pieces = all(pieces) and len(set(words)) == 1 and len(set(pieces)) == len(pieces)
    if len(names) > 1 and not are_pieces:
        raise DataError(
            f"{source} has the parts {names[0]!r} and {names[1]!r}, which both mean {part}: "
            "rename or remove one of them."
        )
    if names != [part]:
        _logger.info("%s: %s read as the part %s.", source, _are(names), part)


def part_files(folder: Path, suffix: str) -> tuple[dict[str, list[Path]], list[Path]]:
    """Return part -> the files of a folder that hold it, and the files that hold none.

    Args:
        folder: Where the files are; one that does not exist holds none.
        suffix: How their names end, in lower case.

    Raises:
        DataError: Two files mean one part; see `group_by_part`.
    """
    files = [p for p in sorted(folder.glob("*")) if p.suffix.lower() == suffix and p.is_file()]
    others = [path for path in files if part_of(path.stem) is None]
    return group_by_part(((path.stem, path) for path in files), str(folder)), others


def log_parts_without_posts(counts: Mapping[str, int], source: str) -> None:
    """Log which parts have a file without posts, as a warning, and which have no file.

    Args:
        counts: Part that has a file -> how many posts are in it.
        source: Where the posts are.
    """
    for part in PARTS:
        if part not in counts:
            _logger.info("%s has no file of the part %s.", source, part)
        elif not counts[part]:
            _logger.warning("%s: the file of the part %s holds no posts.", source, part)


def left_out(source: str, unknown: Mapping[str, Collection[str]]) -> dict[str, tuple[str, ...]]:
    """Return why posts are left out -> their ids, for `Corpus.removed`, and warn of each part.

    Args:
        source: Where the posts are.
        unknown: Name of a part that is none of ours -> the ids of its posts.
    """
    removed = {}
    for name, ids in unknown.items():
        _logger.warning(
            "%s: %r is none of train, dev and test, so its %d post(s) are left out.",
            source,
            name[:80],
            len(ids),
        )
        removed[f"in {name[:80]!r}, which is none of train, dev and test"] = tuple(ids)
    return removed


def keep_parts(corpus: Corpus, splits: Collection[str] | None, source: str) -> Corpus:
    """Return the posts of the parts that are wanted; the others are counted.

    Args:
        corpus: Posts whose `Post.split` is the name of a part, ours or not.
        splits: The parts that are wanted; None for all posts, those of no part included.
        source: Where the posts are, for errors.

    Raises:
        DataError: Parts are wanted, and the source has others alone.
    """
    corpus, unknown = _with_our_parts(corpus, source)
    if splits is None:
        for name, ids in unknown.items():
            _logger.warning(
                "%s: %r is none of train, dev and test: its %d post(s) are read as in no part.",
                *(source, name[:80], len(ids)),
            )
        return corpus
    counts = Counter(post.split for post in corpus.posts)
    if not (corpus.other_parts or counts.keys() - {None}):
        if unknown:
            raise DataError(
                f"{source} has the parts {_shown(unknown)}, none of which is train, dev or test: "
                "rename them, or name the posts of each part by id files (--splits)."
            )
        return corpus
    unknown_ids = {post_id for ids in unknown.values() for post_id in ids}
    nowhere = tuple(p.id for p in corpus.posts if p.split is None and p.id not in unknown_ids)
    others = {part: counts[part] for part in PARTS if counts[part] and part not in splits}
    return replace(
        corpus,
        posts=[post for post in corpus.posts if post.split in splits],
        removed={
            **corpus.removed,
            **left_out(source, unknown),
            **({NO_PART: nowhere} if nowhere else {}),
        },
        other_parts={**corpus.other_parts, **others},
    )


def _with_our_parts(corpus: Corpus, source: str) -> tuple[Corpus, dict[str, list[str]]]:
    """Return posts in parts by our names, and name of a part that is none of ours -> ids."""
    theirs = dict.fromkeys(post.split for post in corpus.posts if post.split is not None)
    ours = {name: part_of(name) for name in theirs}
    for part in PARTS:
        names = [name for name in ours if ours[name] == part]
        if names and names != [part]:
            _logger.info("%s: %s read as the part %s.", source, _are(names), part)
    unknown: dict[str, list[str]] = {name: [] for name, part in ours.items() if part is None}
    posts = []
    for post in corpus.posts:
        if post.split in unknown:
            unknown[post.split].append(post.id)
        ours_of_post = None if post.split is None else ours[post.split]
        is_ours = ours_of_post == post.split
        posts.append(post if is_ours else replace(post, split=ours_of_post))
    return replace(corpus, posts=posts), unknown


def _are(names: Collection[str]) -> str:
    return f"{_shown(names)} {'is' if len(names) == 1 else 'are'}"


def _shown(names: Collection[str]) -> str:
    """Return the first of some names for a sentence."""
    first = [repr(name[:80]) for name in list(names)[:NAMES_SHOWN]]
    more = len(names) - len(first)
    *others, last = [*first, *([f"{more} more"] if more else [])]
    return f"{', '.join(others)} and {last}" if others else last
