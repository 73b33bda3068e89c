"""The splits train, dev and test of a dataset, under all their usual names."""

import logging
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from mvcn.data.formats.rows import read_bytes
from mvcn.errors import DataError, count_of
from mvcn.types import Corpus

SPLITS = ("train", "dev", "test")
WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("dev", "development", "val", "valid", "validation"), "dev"),
    **dict.fromkeys(("eval", "evaluation"), "dev"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Usual names of splits -> ours."""
NO_SPLIT = "in no split"

SEPARATORS = re.compile(r"[-_.\s]+")
NAME = re.compile(
    rf"(?P<word>{'|'.join(sorted(WORDS, key=len, reverse=True))})(?:_?set|_split|_data)?"
    r"(?P<piece>(?:_seen|_unseen)?(?:_[0-9]+_of_[0-9]+)?)"
)
NAMES_SHOWN = 5
NAME_CHARACTERS = 80

_logger = logging.getLogger(__name__)
_Item = TypeVar("_Item")


def split_of(name: str) -> str | None:
    """Return ``train``, ``dev`` or ``test`` for any usual name of it, else None.

    Case and separators are ignored; ``_set``, as in ``testing_set``, ``_seen`` or ``_unseen``, and
    the numbers of a shard, as in ``train-00000-of-00002``, may follow.
    """
    match = _match(name)
    return WORDS[match["word"]] if match else None


def _match(name: str) -> re.Match[str] | None:
    return NAME.fullmatch(SEPARATORS.sub("_", name.strip().lower()))


def group_by_split(items: Iterable[tuple[str, _Item]], where: str) -> dict[str, list[_Item]]:
    """Return split -> its items, in the order train, dev, test; other names are left out.

    Several names are joined into one split if they are pieces of it, such as ``dev_seen`` and
    ``dev_unseen``, or two shards. It is logged how names other than ours are read.

    Args:
        items: Pairs of the name of a split in the dataset and an item of it.
        where: Location of the splits, for errors.

    Raises:
        DataError: Two names mean one split and are not pieces of it, such as ``dev`` and ``val``.
    """
    named: dict[str, list[tuple[str, _Item]]] = {}
    for name, item in items:
        if split := split_of(name):
            named.setdefault(split, []).append((name, item))
    for split, found in named.items():
        _require_pieces([name for name, _ in found], split, where)
    return {split: [item for _, item in named[split]] for split in SPLITS if split in named}


def _require_pieces(names: list[str], split: str, where: str) -> None:
    matches = [match for name in names if (match := _match(name))]
    words, pieces = ([match[group] for match in matches] for group in ("word", "piece"))
    are_pieces = all(pieces) and len(set(words)) == 1 and len(set(pieces)) == len(pieces)
    if len(names) > 1 and not are_pieces:
        raise DataError(
            f"{where} has the splits {names[0]!r} and {names[1]!r}, which both mean {split}: "
            "rename or remove one of them."
        )
    _log_other_names(names, split, where)


def split_files(folder: Path, suffix: str) -> tuple[dict[str, list[Path]], list[Path]]:
    """Return split -> its files in a folder, and the files of no split.

    Args:
        folder: Folder of the files, which need not exist.
        suffix: How their names end, in lower case.

    Raises:
        DataError: Two files mean one split; see `group_by_split`.
    """
    files = [p for p in sorted(folder.glob("*")) if p.suffix.lower() == suffix and p.is_file()]
    others = [path for path in files if split_of(path.stem) is None]
    return group_by_split(((path.stem, path) for path in files), str(folder)), others


def require_split_files(
    folder: Path, suffix: str, splits: Collection[str] | None, kind: str
) -> tuple[dict[str, list[Path]], list[Path]]:
    """As `split_files`, but raise a DataError if a requested split is missing.

    Args:
        folder: Folder of the files.
        suffix: How their names end, in lower case.
        splits: The requested splits; None for any.
        kind: Description of the files, for errors.
    """
    files, others = split_files(folder, suffix)
    missing = [split for split in SPLITS if split in (splits or ()) and split not in files]
    if missing or not files:
        names = ", ".join(f"{split}{suffix}" for split in missing or SPLITS)
        raise DataError(f"{folder} has no {names}: pass the folder of {kind} with --root.")
    return files, others


def line_ids(path: Path) -> list[str]:
    """Return a name for each post of a file with one post per line, which is left out."""
    lines = read_bytes(path, "text").split(b"\n")
    return [f"{path.stem}-{n}" for n in range(1, 1 + sum(bool(line.strip()) for line in lines))]


def log_empty_splits(counts: Mapping[str, int], where: str) -> None:
    """Log splits without a file, and warn of files without posts.

    Args:
        counts: Split with a file -> its number of posts.
        where: Location of the posts.
    """
    for split in SPLITS:
        if split not in counts:
            _logger.info("%s has no file for the split %s.", where, split)
        elif not counts[split]:
            _logger.warning("%s: the file of the split %s holds no posts.", where, split)


def left_out(where: str, unknown: Mapping[str, Collection[str]]) -> dict[str, tuple[str, ...]]:
    """Return reason -> ids of posts left out, for `Corpus.removed`, and warn of each split.

    Args:
        where: Location of the posts.
        unknown: Name of an unknown split -> the ids of its posts.
    """
    for name, ids in unknown.items():
        _logger.warning(
            "%s: split %r is not train, dev or test, so its %s left out.",
            *(where, name[:NAME_CHARACTERS], count_of(len(ids), "post is", "posts are")),
        )
    return {
        f"in {name[:NAME_CHARACTERS]!r}, which is not train, dev or test": tuple(ids)
        for name, ids in unknown.items()
    }


def keep_splits(corpus: Corpus, splits: Collection[str] | None, where: str) -> Corpus:
    """Return the posts of the requested splits; the others are counted.

    Args:
        corpus: Posts whose `Post.split` is any name of a split.
        splits: The requested splits; None for all posts, including those of no split.
        where: Location of the posts, for errors.

    Raises:
        DataError: Splits are requested, and the dataset has only unknown ones.
    """
    corpus, unknown = _with_our_splits(corpus, where)
    if splits is None:
        for name, ids in unknown.items():
            _logger.warning(
                "%s: split %r is not train, dev or test, so its %s in no split.",
                *(where, name[:NAME_CHARACTERS], count_of(len(ids), "post is", "posts are")),
            )
        return corpus
    if corpus.other_splits or any(post.split is not None for post in corpus.posts):
        return _only_splits(corpus, splits, unknown, where)
    if unknown:
        raise DataError(
            f"{where} has the splits {_shown(unknown)}, none of which is train, dev or test: "
            "rename them, or list the ids of each split in files and pass their folder with "
            "--splits FOLDER."
        )
    return corpus


def _only_splits(
    corpus: Corpus, splits: Collection[str], unknown: Mapping[str, list[str]], where: str
) -> Corpus:
    """Return the posts of some splits; count those of others and of none."""
    counts = Counter(post.split for post in corpus.posts)
    unknown_ids = {post_id for ids in unknown.values() for post_id in ids}
    nowhere = tuple(p.id for p in corpus.posts if p.split is None and p.id not in unknown_ids)
    others = {name: counts[name] for name in SPLITS if counts[name] and name not in splits}
    removed = {**corpus.removed, **left_out(where, unknown)}
    return replace(
        corpus,
        posts=[post for post in corpus.posts if post.split in splits],
        removed=removed | ({NO_SPLIT: nowhere} if nowhere else {}),
        other_splits={**corpus.other_splits, **others},
    )


def _with_our_splits(corpus: Corpus, where: str) -> tuple[Corpus, dict[str, list[str]]]:
    """Return the posts under our names of splits, and name of an unknown split -> ids."""
    theirs = dict.fromkeys(post.split for post in corpus.posts if post.split is not None)
    ours: dict[str | None, str | None] = {name: split_of(name) for name in theirs}
    for split in SPLITS:
        if names := [name for name in theirs if ours[name] == split]:
            _log_other_names(names, split, where)
    unknown: dict[str, list[str]] = {name: [] for name in theirs if ours[name] is None}
    for post in corpus.posts:
        if post.split in unknown:
            unknown[post.split].append(post.id)
    posts = [
        post if ours.get(post.split) == post.split else replace(post, split=ours[post.split])
        for post in corpus.posts
    ]
    return replace(corpus, posts=posts), unknown


def _log_other_names(names: Collection[str], split: str, where: str) -> None:
    if list(names) != [split]:
        are = "is" if len(names) == 1 else "are"
        _logger.info("%s: %s %s read as the split %s.", where, _shown(names), are, split)


def _shown(names: Collection[str]) -> str:
    """Return the first names, joined for a sentence."""
    first = [repr(name[:NAME_CHARACTERS]) for name in list(names)[:NAMES_SHOWN]]
    more = len(names) - len(first)
    *others, last = [*first, *([f"{more} more"] if more else [])]
    return f"{', '.join(others)} and {last}" if others else last
