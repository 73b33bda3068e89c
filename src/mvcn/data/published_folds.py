"""Folds of MVSA that were published with the labels of their posts (Cheema et al., 2021).

A folder of them holds ``valid_pairlist.txt``, a line ``id,label,text label,image label`` for each
post, with 0 for neutral, 1 for positive and 2 for negative; and for each fold K
``splits/train_K.txt``, ``val_K.txt`` and ``test_K.txt``, a line for each post with the number, from
0, of its line in that list.

Source:
    Cheema et al., "A Fair and Comprehensive Comparison of Multimodal Tweet Sentiment Analysis
    Methods", MMPT 2021, https://doi.org/10.1145/3463945.3469058.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mvcn.data.row_errors import RowErrors
from mvcn.errors import ConfigError, DataError, count_of
from mvcn.files import read_lines, require_allowed
from mvcn.types import Corpus, Post

LOGGER = logging.getLogger(__name__)

PAIR_LIST = "valid_pairlist.txt"
FOLDER = "splits"
FILES = {"train": "train", "dev": "val", "test": "test"}
"""Split -> what the names of its files begin with."""
TRAIN_FILE = re.compile(r"train_([1-9][0-9]{0,5})\.txt")
LINE_NUMBER = re.compile(r"[0-9]{1,9}")
LABELS = {"0": "neutral", "1": "positive", "2": "negative"}
NUM_LABELS = 3
"""On a line of the pair list: of the post, of its text and of its image."""
Labels = tuple[str, str, str]
"""Class names of a post, its text and its image, as in a line of the pair list."""
NOT_THERE = "in the published folds, but not in the dataset"
NOT_LISTED = "in no split of the published fold"
QUOTED = 80
"""Characters of a wrong line that an error quotes."""


@dataclass(frozen=True, slots=True)
class PublishedFold:
    """One fold, and the labels of all posts of the pair list."""

    folder: Path
    labels: Mapping[str, Labels]
    """Id of a post -> its labels."""
    splits: Mapping[str, Sequence[str]]
    """``train``, ``dev`` and ``test`` -> ids of their posts, each in one split."""


def read_fold(folder: Path | None, number: int | None) -> PublishedFold | None:
    """Read one fold.

    Args:
        folder: Folder of published folds, or of lists of ids, or None for neither.
        number: Number of the fold, from 1; None for none, and then folds must not be there.

    Returns:
        The fold; None if no number is given.

    Raises:
        ConfigError: A number without published folds, or published folds without a number.
        DataError: There is no such fold, or a file is invalid.
    """
    if number is None:
        if folder is not None and (folds := fold_numbers(folder)):
            raise ConfigError(
                f"{folder} holds the published folds {_joined(folds)}: choose one with --fold "
                "(data.fold)."
            )
        return None
    if folder is None:
        raise ConfigError(
            f"--fold {number} (data.fold) chooses one of the published folds: pass their folder "
            "with --splits FOLDER."
        )
    if not (folder / PAIR_LIST).is_file():
        require_allowed(folder / PAIR_LIST, DataError)
        raise ConfigError(
            f"{folder} has no {PAIR_LIST}, so it holds no published folds: leave out --fold "
            "(data.fold), or pass their folder with --splits FOLDER."
        )
    if number not in (folds := fold_numbers(folder)):
        there = f"choose one of {_joined(folds)}" if folds else "download the folds again"
        raise DataError(f"{folder} has no fold {number} ({FOLDER}/train_{number}.txt): {there}.")
    pairs = _read_pairs(folder / PAIR_LIST)
    ids = {line: post_id for line, (post_id, _) in pairs.items()}
    return PublishedFold(folder, dict(pairs.values()), _read_splits(folder, number, ids))


def fold_numbers(folder: Path) -> list[int]:
    """Return the numbers of the published folds in a folder, in order; none in any other folder."""
    if not (folder / PAIR_LIST).is_file():
        return []
    names = [TRAIN_FILE.fullmatch(path.name) for path in (folder / FOLDER).glob("train_*.txt")]
    return sorted(int(name[1]) for name in names if name)


def with_fold(corpus: Corpus, fold: PublishedFold, root: Path) -> Corpus:
    """Return the posts of a fold by train, dev and test, with the labels of the pair list.

    Posts of the list that the dataset lacks or removes, and posts of the dataset in no split of
    the fold, are counted and left out. How many labels change is logged.

    Args:
        corpus: All posts of the dataset.
        fold: The fold.
        root: Where the posts were read from, for errors.

    Raises:
        DataError: The dataset has none of the posts, or other classes.
    """
    place = str(fold.folder / PAIR_LIST)
    known = {post.id: post for post in corpus.posts}
    posts = [
        _with_labels(known[post_id], fold.labels[post_id], split)
        for split, ids in fold.splits.items()
        for post_id in ids
        if post_id in known
    ]
    if not posts:
        raise DataError(
            f"{root} has none of the posts in {place}: check that the folds belong to this dataset."
        )
    class_names = corpus.class_names or tuple(LABELS.values())
    if other := {name for post in posts for name in fold.labels[post.id]} - set(class_names):
        raise DataError(
            f"{place} has the label '{min(other)}', but the classes of {root} are "
            f"{', '.join(class_names)}: use the dataset that the folds were published for."
        )
    _log_other_labels([known[post.id] for post in posts], fold, place)
    removed = {**corpus.removed, **_left_out(corpus, fold, place)}
    return replace(corpus, posts=posts, class_names=class_names, removed=removed)


def _with_labels(post: Post, labels: Labels, split: str) -> Post:
    label, text_label, image_label = labels
    return replace(post, label=label, text_label=text_label, image_label=image_label, split=split)


def _left_out(corpus: Corpus, fold: PublishedFold, place: str) -> dict[str, tuple[str, ...]]:
    """Return reason -> ids of the posts that are not in both, without those already removed."""
    known = {post.id for post in corpus.posts}
    by_rule = {post_id for ids in corpus.removed.values() for post_id in ids} & fold.labels.keys()
    lacking = tuple(one for one in fold.labels if one not in known and one not in by_rule)
    in_split = {post_id for ids in fold.splits.values() for post_id in ids}
    unlisted = tuple(post.id for post in corpus.posts if post.id not in in_split)
    if lacking or by_rule:
        LOGGER.info(
            "%s: %s, because the dataset does not have %d and removes %d by its own rules.",
            place,
            count_of(len(lacking) + len(by_rule), "post is left out", "posts are left out"),
            *(len(lacking), len(by_rule)),
        )
    return {reason: ids for reason, ids in ((NOT_THERE, lacking), (NOT_LISTED, unlisted)) if ids}


def _log_other_labels(posts: Sequence[Post], fold: PublishedFold, place: str) -> None:
    """Log how many posts have other labels in the pair list; labels that they lack do not count."""
    differ = [
        [own not in (None, listed) for own, listed in zip(_labels(post), labels, strict=True)]
        for post in posts
        for labels in [fold.labels[post.id]]
    ]
    if count := sum(map(any, differ)):
        LOGGER.info(
            "%s: %s other labels than in the dataset, %d of them for the whole post; those of the "
            "list are used.",
            place,
            *(count_of(count, "post has", "posts have"), sum(whole for whole, _, _ in differ)),
        )


def _labels(post: Post) -> tuple[str | None, str | None, str | None]:
    return post.label, post.text_label, post.image_label


def _read_pairs(path: Path) -> dict[int, tuple[str, Labels]]:
    """Return number of a line, from 0 -> id and labels of its post."""
    pairs: dict[int, tuple[str, Labels]] = {}
    line_of: dict[str, int] = {}
    errors = RowErrors(str(path))
    for number, line in _read_lines(path).items():
        with errors.collect():
            post_id, labels = _parse_pair(line, f"{path}, line {number}")
            if line_of.setdefault(post_id, number) != number:
                raise DataError(
                    f"{path}, line {number}: post {post_id} is already on line "
                    f"{line_of[post_id]}: download the published file again."
                )
            pairs[number - 1] = (post_id, labels)
    errors.require_none()
    return pairs


def _parse_pair(line: str, where: str) -> tuple[str, Labels]:
    """Return id and labels of a post."""
    post_id, *cells = (cell.strip() for cell in line.split(","))
    names = [LABELS[cell] for cell in cells if cell in LABELS]
    if not post_id or len(cells) != len(names) or len(names) != NUM_LABELS:
        raise DataError(
            f"{where}: {line[:QUOTED]!r} must be a post's id and the labels of post, text and "
            "image, each 0, 1 or 2, as in '12,1,0,1'."
        )
    return post_id, (names[0], names[1], names[2])


def _read_splits(folder: Path, number: int, ids: Mapping[int, str]) -> dict[str, list[str]]:
    """Return split -> ids of its posts in one fold.

    Args:
        folder: Folder of the folds.
        number: Number of the fold.
        ids: Number of a line of the pair list, from 0 -> id of its post.
    """
    splits: dict[str, list[str]] = {}
    place_of: dict[str, str] = {}
    errors = RowErrors(str(folder))
    for split, name in FILES.items():
        path = folder / FOLDER / f"{name}_{number}.txt"
        splits[split] = []
        for line_number, line in _read_lines(path).items():
            where = f"{path}, line {line_number}"
            with errors.collect():
                post_id = ids.get(int(line)) if LINE_NUMBER.fullmatch(line) else None
                if post_id is None:
                    raise DataError(
                        f"{where}: {line[:QUOTED]!r} must be the number of a post's line in "
                        f"{PAIR_LIST}, from 0 to {max(ids)}."
                    )
                if place_of.setdefault(post_id, where) != where:
                    raise DataError(
                        f"{where}: post {post_id} is also in {place_of[post_id]}: download the "
                        "published files again."
                    )
                splits[split].append(post_id)
    errors.require_none()
    return splits


def _read_lines(path: Path) -> dict[int, str]:
    """Return number, from 1 -> content of each line, of which there must be one."""
    found = read_lines(path, "download it again.")
    if not found:
        raise DataError(f"{path} is empty: download it again.")
    return found


def _joined(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
