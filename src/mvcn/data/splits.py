"""Splits of posts into train, dev and test: assigned at random, or read from lists of ids."""

import json
import logging
import math
import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from mvcn.data.posts import examples_of_ids, fingerprint
from mvcn.data.row_errors import RowErrors
from mvcn.data.split_names import SPLITS, split_files
from mvcn.errors import DataError, count_of
from mvcn.files import atomic_write, read_lines, require_allowed, write_json
from mvcn.outputs import require_output_folder
from mvcn.types import Corpus, Post

NAMED_IN_ERROR = 5
MIN_FOLDS = 2
SPLITS_FILE = "splits.json"
SPLIT_NAME = re.compile(r"[A-Za-z0-9_-]+")

# Line breaks, surrogates, and whitespace that reading strips from the ends of a line.
UNWRITABLE = re.compile(r"[\n\r\ud800-\udfff]|^[\s\ufeff]|\s\Z|^\Z")

LOGGER = logging.getLogger(__name__)


def stratified_split(
    posts: Sequence[Post],
    shares: Mapping[str, float],
    seed: int,
    groups: Sequence[int] | None = None,
) -> dict[str, list[Post]]:
    """Assign posts to splits at random, stratified by class.

    Each split gets its share of each class to within one post, by largest remainder: a class with
    few posts may be missing in a split with a small share. A group stays in one split; groups that
    are large relative to a split cause larger deviations.

    Args:
        posts: Labelled posts; each split keeps their order.
        shares: Name of a split -> its share of the posts; above 0, summing to 1.
        seed: Determines the result together with the order of `posts`.
        groups: Number of each post's group, such as near-duplicates; None for no groups.

    Raises:
        DataError: A post without a label, a class with fewer posts than splits, or wrong shares.
    """
    if any(share <= 0 for share in shares.values()) or not math.isclose(sum(shares.values()), 1):
        given = ", ".join(f"{name}={share:g}" for name, share in shares.items()) or "none"
        raise DataError(
            f"The shares of the splits must be above 0 and add up to 1, but are {given}."
        )
    assigned = _assign(posts, shares, seed, groups)
    return {name: [posts[i] for i in assigned if assigned[i] == name] for name in shares}


def k_folds(
    posts: Sequence[Post], folds: int, seed: int, groups: Sequence[int] | None = None
) -> list[dict[str, list[Post]]]:
    """Return ``train`` and ``dev`` of each fold; every post is in the dev split of exactly one.

    Args:
        posts: Labelled posts; each split keeps their order.
        folds: Number of folds, from 2 on.
        seed: See `stratified_split`.
        groups: See `stratified_split`.

    Raises:
        DataError: As in `stratified_split`, or fewer than two folds.
    """
    if folds < MIN_FOLDS:
        raise DataError(f"Cross-validation needs at least {MIN_FOLDS} folds, not {folds}.")
    shares = {f"fold {k}": 1 / folds for k in range(folds)}
    devs = stratified_split(posts, shares, seed, groups).values()
    dev_ids = [{post.id for post in dev} for dev in devs]
    return [
        {"train": [post for post in posts if post.id not in ids], "dev": dev}
        for ids, dev in zip(dev_ids, devs, strict=True)
    ]


def group_folds(groups: Sequence[int], folds: int) -> Int[np.ndarray, " posts"]:
    """Return the number of each post's fold, from 0; folds are of about equal size.

    Args:
        groups: Number of each post's group, which stays in one fold.
        folds: Maximum number of folds; fewer if there are fewer groups.
    """
    from sklearn.model_selection import GroupKFold  # slow to import

    numbers = np.zeros(len(groups), dtype=np.int64)
    folds = min(folds, len(set(groups)))
    if folds >= MIN_FOLDS:
        splitter = GroupKFold(folds, shuffle=True, random_state=0)
        for number, (_, held_out) in enumerate(splitter.split(numbers, groups=groups)):
            numbers[held_out] = number
    return numbers


def _assign(
    posts: Sequence[Post], shares: Mapping[str, float], seed: int, groups: Sequence[int] | None
) -> dict[int, str]:
    """Return position -> split, in order; large groups are assigned before single posts."""
    generator = random.Random(seed)
    indices_of = _indices_by_label(posts)
    for label, indices in indices_of.items():
        if len(indices) < len(shares):
            raise DataError(
                f"Class {label!r} has {count_of(len(indices), 'post')}, too few for the "
                f"{len(shares)} splits {', '.join(shares)}: add posts of it, or list the ids of "
                "each split in files (--splits)."
            )
    weights = list(shares.values())
    sizes = {label: _split_sizes(len(indices), weights) for label, indices in indices_of.items()}
    grouped = _assign_groups(posts, sizes, _large_groups(groups or [], generator))
    assigned = dict(grouped)
    for label, indices in indices_of.items():
        taken = Counter(grouped[i] for i in indices if i in grouped)
        rest = [i for i in indices if i not in grouped]
        generator.shuffle(rest)
        missing = [size - taken[split] for split, size in enumerate(sizes[label])]
        numbers = [split for split, n in enumerate(_fill(missing)) for _ in range(n)]
        assigned.update(zip(rest, numbers, strict=True))
    names = list(shares)
    return {i: names[assigned[i]] for i in range(len(posts))}


def _indices_by_label(posts: Sequence[Post]) -> dict[str, list[int]]:
    """Return the positions of each class's posts, classes in alphabetical order."""
    indices: dict[str, list[int]] = {}
    for i, post in enumerate(posts):
        if post.label is None:
            raise DataError(
                f"Post {post.id!r} has no label, so it cannot be put into a split: add one, or "
                "remove the post."
            )
        indices.setdefault(post.label, []).append(i)
    return dict(sorted(indices.items()))


def _large_groups(groups: Sequence[int], generator: random.Random) -> list[list[int]]:
    """Return the positions of each group of two or more, largest first, else at random."""
    members: dict[int, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    large = [group for group in members.values() if len(group) > 1]
    generator.shuffle(large)
    return sorted(large, key=len, reverse=True)


def _assign_groups(
    posts: Sequence[Post], sizes: Mapping[str, Sequence[int]], groups: Iterable[Sequence[int]]
) -> dict[int, int]:
    """Assign each group to the split that it overfills least, on ties to the one missing most."""
    missing = {label: list(of_splits) for label, of_splits in sizes.items()}
    assigned: dict[int, int] = {}
    for group in groups:
        counts = Counter(label for i in group if (label := posts[i].label) is not None)
        splits = range(len(sizes[next(iter(counts))]))
        misfits = [_misfit(counts, missing, sizes, split) for split in splits]
        best = misfits.index(min(misfits))
        assigned.update(dict.fromkeys(group, best))
        for label, n in counts.items():
            missing[label][best] -= n
    return assigned


def _misfit(
    counts: Mapping[str, int],
    missing: Mapping[str, Sequence[int]],
    sizes: Mapping[str, Sequence[int]],
    split: int,
) -> tuple[int, float]:
    """Return by how many posts a group overfills a split, and its negated need for the group."""
    overfill = sum(max(0, n - missing[label][split]) for label, n in counts.items())
    need = sum(
        n * missing[label][split] / max(1, sizes[label][split]) for label, n in counts.items()
    )
    return overfill, -need


def _fill(missing: Sequence[int]) -> list[int]:
    """Return the number of single posts for each split, given missing posts (negative: surplus)."""
    needed = [max(0, count) for count in missing]
    total = sum(needed)
    return _split_sizes(sum(missing), [n / total for n in needed]) if total else needed


def _split_sizes(count: int, shares: Sequence[float]) -> list[int]:
    """Return whole numbers near ``count * share`` that sum to `count`, by largest remainder."""
    quotas = [count * share for share in shares]
    sizes = [math.floor(quota) for quota in quotas]
    by_remainder = sorted(range(len(shares)), key=lambda split: sizes[split] - quotas[split])
    for split in by_remainder[: count - sum(sizes)]:
        sizes[split] += 1
    return sizes


def count_labels(posts: Iterable[Post]) -> dict[str, int]:
    """Return the number of posts of each class, classes in alphabetical order."""
    return dict(sorted(Counter(str(post.label) for post in posts).items()))


def write_splits(
    folder: Path,
    splits: Mapping[str, Sequence[Post]],
    posts: Sequence[Post],
    about: Mapping[str, Any],
    *,
    overwrite: bool = False,
) -> None:
    """Write ``<split>.txt`` with one id per line for each split, and ``splits.json``.

    Args:
        folder: Created if it does not exist.
        splits: Name of a split, of letters, digits, - and _ -> its posts.
        posts: All posts of the dataset, whose fingerprint is stored to detect later changes.
        about: How the splits were made, for ``splits.json``.
        overwrite: Replace existing splits.

    Raises:
        DataError: A split has no posts, or its name or an id cannot be written.
        RunError: The folder has splits or other files already.
    """
    require_writable(splits)
    paths = {name: folder / f"{name}.txt" for name in splits}
    if not overwrite:
        require_splits_folder(folder, overwrite=False)
    folder.mkdir(parents=True, exist_ok=True)
    remove_splits(folder)
    counts = {name: count_labels(split) for name, split in splits.items()}
    write_json(folder / SPLITS_FILE, {"fingerprint": fingerprint(posts), "counts": counts, **about})
    for name, path in paths.items():
        with atomic_write(path) as file:
            file.writelines(f"{post.id}\n" for post in splits[name])


def require_splits_folder(folder: Path, *, overwrite: bool) -> None:
    """Raise a RunError unless splits or folds may be written into the folder."""
    is_own = any(folder.glob(SPLITS_FILE)) or any(folder.glob(f"*/{SPLITS_FILE}"))
    require_output_folder(folder, "set of splits", is_own=is_own, overwrite=overwrite)


def require_writable(splits: Mapping[str, Sequence[Post]]) -> None:
    """Raise a DataError unless `write_splits` can write the splits."""
    for name, split in splits.items():
        if not split:
            raise DataError(
                f"Split '{name}' has no posts, because its share is small or near-duplicates fill "
                "the other splits: give it a larger share in --shares, or add --ignore-duplicates."
            )
        if not SPLIT_NAME.fullmatch(name):
            raise DataError(
                f"A split cannot be called {name!r}: use letters, digits, '-' and '_' in its name."
            )
    for post in chain.from_iterable(splits.values()):
        if UNWRITABLE.search(post.id):
            raise DataError(
                f"Post id {post.id!r} cannot be written on a single line: ids must not be "
                "empty, contain line breaks, or begin or end with whitespace."
            )


def remove_splits(folder: Path) -> None:
    """Remove files written by `write_splits` from the folder, if any.

    Raises:
        DataError: ``splits.json`` is damaged.
    """
    about = _read_about(folder)
    if about is not None:
        for name in about["counts"]:
            (folder / f"{name}.txt").unlink(missing_ok=True)
        (folder / SPLITS_FILE).unlink()


def require_made_for(folder: Path, posts: Iterable[Post]) -> None:
    """Raise a DataError if the splits in the folder were made for other posts.

    Lists of ids without a ``splits.json`` are not checked.
    """
    about = _read_about(folder)
    if about is not None and about["fingerprint"] != fingerprint(posts):
        raise DataError(
            f"The splits in {folder} were made for other posts (a text, a label or an id has "
            "changed, or posts were added or removed): make them again with mvcn split."
        )


def _read_about(folder: Path) -> dict[str, Any] | None:
    """Return the content of ``splits.json``; None if it does not exist."""
    path = folder / SPLITS_FILE
    if not path.exists():
        return None
    require_allowed(path, DataError)
    try:
        about = json.loads(path.read_text("utf-8")) if path.is_file() else None
    except (OSError, ValueError):
        about = None
    if not (
        isinstance(about, dict)
        and isinstance(about.get("fingerprint"), str)
        and isinstance(about.get("counts"), dict)
        and all(SPLIT_NAME.fullmatch(name) for name in about["counts"])
    ):
        raise DataError(f"{path} is damaged: make the splits again with mvcn split, or delete it.")
    return about


def read_ids(path: Path) -> list[str]:
    """Read a list of post ids, one per line, ignoring empty lines.

    Raises:
        DataError: Not a readable UTF-8 file, without ids, or with an id twice.
    """
    line_of: dict[str, int] = {}
    lines = read_lines(path, "it must be a UTF-8 text file with one post id per line.")
    errors = RowErrors(str(path))
    for number, post_id in lines.items():
        with errors.collect():
            if line_of.setdefault(post_id, number) != number:
                raise DataError(
                    f"{path}, line {number}: id {post_id!r} is already on line "
                    f"{line_of[post_id]}: delete one of the two."
                )
    errors.require_none()
    if not line_of:
        raise DataError(f"{path} contains no ids: write one post id per line.")
    return list(line_of)


def select_posts(corpus: Corpus, ids: Sequence[str], where: str) -> list[Post]:
    """Return the posts with these ids, in the order of `ids`.

    Args:
        corpus: All posts.
        ids: Ids of posts.
        where: Location of the ids, for errors.

    Raises:
        DataError: The corpus does not have an id, or its reader removed it.
    """
    for reason, removed in corpus.removed.items():
        if taken_out := set(removed).intersection(ids):
            named = _shown([post_id for post_id in ids if post_id in taken_out])
            raise DataError(
                f"{where} lists posts that the dataset leaves out ({reason}), such as {named}: "
                "remove them from the list."
            )
    by_id = {post.id: post for post in corpus.posts}
    if unknown := [post_id for post_id in ids if post_id not in by_id]:
        raise DataError(
            f"{where} lists posts that the dataset does not have ({_shown(unknown)}): use its ids, "
            f"such as {examples_of_ids(corpus.posts, corpus.columns)}."
        )
    return [by_id[post_id] for post_id in ids]


def _shown(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - NAMED_IN_ERROR} more" if len(ids) > NAMED_IN_ERROR else ""
    return ", ".join(ids[:NAMED_IN_ERROR]) + more


def id_files(folder: Path) -> dict[str, list[Path]]:
    """Return split -> its lists of ids in a folder, in the order train, dev, test.

    Raises:
        DataError: Two lists mean one split; see `group_by_split`.
    """
    files, others = split_files(folder, ".txt")
    for path in others:
        LOGGER.info("%s is not train, dev or test, so it is not read.", path)
    return files


def posts_of_id_file(corpus: Corpus, folder: Path, split: str) -> list[Post]:
    """Return the posts that ``<split>.txt`` in `folder` names, in its order.

    For our splits, the file may have any name that `split_of` recognises.

    Raises:
        DataError: There is no such list, or it was made for other posts.
    """
    require_made_for(folder, corpus.posts)
    path = folder / f"{split}.txt"
    paths = id_files(folder).get(split, [path]) if split in SPLITS else [path]
    return [post for path in paths for post in select_posts(corpus, read_ids(path), str(path))]
