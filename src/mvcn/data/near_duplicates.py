"""Near-duplicate posts: texts with similar character shingles, and similar images.

Near-duplicates shared by training and test posts inflate scores; within the training posts they
reveal contradictory labels.
"""

import re
import unicodedata
import zlib
from collections.abc import Hashable, Iterator, Sequence
from itertools import combinations, pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import DisjointSet

from mvcn.types import ImageFacts

WEB_ADDRESS = re.compile(r"https?:\S*")
WORD = re.compile(r"\w+")

Key = TypeVar("Key", bound=Hashable)

SHINGLE_CHARACTERS = 5
MIN_CHARACTERS = 20
"""A shorter text has too few words to compare: its only near-duplicates are equal texts."""
MIN_SIMILARITY = 0.8
"""Minimum Jaccard similarity of the shingle sets of near-duplicate texts."""

BANDS, BAND_ROWS = 25, 4
"""Two texts of similarity s are compared with probability 1 - (1 - s**4)**25: 0.999998 at 0.8."""
SHINGLES_AT_ONCE = 10_000

MAX_DIFFERENT_BITS = 4
"""Of 64 in a perceptual hash, between near-duplicate images."""
MIN_CONTRAST = 5.0
"""Images with less (of 0 to 255) are blank, so their hashes carry no information."""
HASH_BANDS = MAX_DIFFERENT_BITS + 2
"""Of 64 bits: if at most `MAX_DIFFERENT_BITS` differ, at least two bands are equal."""


def plain_text(text: str) -> str:
    """Return the text in lower case, without web addresses, its words joined by single spaces."""
    return " ".join(WEB_ADDRESS.sub("", text).lower().split())


def near_duplicate_texts(texts: Sequence[str]) -> list[list[int]]:
    """Return groups of texts that are near-duplicates, as positions in order.

    Two texts are near-duplicates if their plain texts are equal and not empty, or if the sets of
    five-character shingles of their words have a Jaccard similarity of at least `MIN_SIMILARITY`;
    groups are the connected components. Candidates come from MinHash with locality-sensitive
    hashing (Broder, 1997) and are then compared exactly.
    """
    groups = DisjointSet(range(len(texts)))
    plain = [plain_text(text) for text in texts]
    _join_equal(groups, [text or None for text in plain])
    words = [" ".join(WORD.findall(unicodedata.normalize("NFKC", text))) for text in plain]
    first = _join_equal(groups, [text if len(text) >= MIN_CHARACTERS else None for text in words])
    _join_similar(groups, list(first), list(first.values()))
    return _of_two_or_more(groups)


def have_near_duplicate(known: Sequence[str], texts: Sequence[str]) -> list[bool]:
    """Return whether each text is a near-duplicate of a known one."""
    count = len(known)
    groups = near_duplicate_texts([*known, *texts])
    near = {i for group in groups if group[0] < count for i in group}
    return [count + i in near for i in range(len(texts))]


def near_duplicate_images(facts: Sequence[ImageFacts | None]) -> list[list[int]]:
    """Return groups of images that are near-duplicates, as positions in order.

    Two images are near-duplicates if their files are equal, or if they are not blank and their
    perceptual hashes differ in at most `MAX_DIFFERENT_BITS`; groups are the connected components.

    Args:
        facts: Facts of each image; None for no image.
    """
    groups = DisjointSet(range(len(facts)))
    _join_equal(groups, [fact.digest or None if fact is not None else None for fact in facts])
    keys = [
        fact.perceptual_hash if fact is not None and fact.contrast >= MIN_CONTRAST else None
        for fact in facts
    ]
    first = _join_equal(groups, keys)
    positions = list(first.values())
    for left, right in _pairs_of_similar_hashes(np.array(list(first), dtype=np.uint64)):
        groups.merge(positions[left], positions[right])
    return _of_two_or_more(groups)


def exact_groups(keys: Sequence[Hashable | None]) -> list[list[int]]:
    """Return groups of two or more positions with equal keys, in order; None equals nothing."""
    groups = DisjointSet(range(len(keys)))
    _join_equal(groups, keys)
    return _of_two_or_more(groups)


def duplicate_groups(
    texts: Sequence[str],
    facts: Sequence[ImageFacts | None] | None = None,
    most: int | None = None,
) -> list[int]:
    """Return the number of each post's group; near-duplicates in text or image share one.

    Groups are numbered from 0 in the order of their first posts. A post without near-duplicates
    is a separate group.

    Args:
        texts: Text of each post.
        facts: Facts of each post's image; None to compare the texts alone.
        most: A text that more posts have tells nothing about posts with images, such as one
            caption for all, nor an image about posts with texts. None: there is no such number.
    """
    groups, facts = DisjointSet(range(len(texts))), facts or [None] * len(texts)
    telling = [
        *_telling(near_duplicate_texts(texts), [fact is not None for fact in facts], most),
        *_telling(near_duplicate_images(facts), [bool(text.strip()) for text in texts], most),
    ]
    for group in telling:
        for i in group:
            groups.merge(group[0], i)
    number_of: dict[int, int] = {}
    return [number_of.setdefault(groups[i], len(number_of)) for i in range(len(texts))]


def _telling(
    groups: Sequence[list[int]], has_other: Sequence[bool], most: int | None
) -> list[list[int]]:
    """Return the groups but those of more than `most` posts, some of which have the other input."""
    return [
        group
        for group in groups
        if most is None or len(group) <= most or not any(has_other[i] for i in group)
    ]


def _join_equal(groups: DisjointSet, keys: Sequence[Key | None]) -> dict[Key, int]:
    """Join positions with equal keys; return the first position of each key."""
    first: dict[Key, int] = {}
    for i, key in enumerate(keys):
        if key is not None:
            groups.merge(first.setdefault(key, i), i)
    return first


def _of_two_or_more(groups: DisjointSet) -> list[list[int]]:
    return sorted(sorted(group) for group in groups.subsets() if len(group) > 1)


def _join_similar(groups: DisjointSet, texts: Sequence[str], positions: Sequence[int]) -> None:
    """Join the positions of similar texts, comparing those that share a band of MinHashes."""
    for bucket in _buckets(_min_hashes(texts)):
        _join_in_bucket(groups, [texts[i] for i in bucket], [positions[i] for i in bucket])


def _min_hashes(texts: Sequence[str]) -> NDArray[np.uint32]:
    from datasketch import MinHash  # takes half a second; --help must not wait for it

    hashes = np.empty((len(texts), BANDS * BAND_ROWS), dtype=np.uint32)
    empty = MinHash(BANDS * BAND_ROWS, hashfunc=zlib.crc32)
    for row, text in enumerate(texts):
        sketch = empty.copy()
        shingles = [shingle.encode("utf-8", "surrogatepass") for shingle in _shingles(text)]
        for start in range(0, len(shingles), SHINGLES_AT_ONCE):
            sketch.update_batch(shingles[start : start + SHINGLES_AT_ONCE])
        hashes[row] = sketch.hashvalues
    return hashes


def _shingles(text: str) -> set[str]:
    return {text[i : i + SHINGLE_CHARACTERS] for i in range(len(text) - SHINGLE_CHARACTERS + 1)}


def _buckets(hashes: NDArray[np.uint32]) -> Iterator[NDArray[np.intp]]:
    """Yield the rows that are equal in a band, band by band."""
    for band in np.split(hashes, BANDS, axis=1):
        order = np.lexsort(band.T)
        starts = 1 + np.flatnonzero((band[order[1:]] != band[order[:-1]]).any(axis=1))
        for bucket in np.split(order, starts):
            if len(bucket) > 1:
                yield bucket


def _join_in_bucket(groups: DisjointSet, texts: Sequence[str], positions: Sequence[int]) -> None:
    """Compare each text with all previous ones in one step, unless all are in its group."""
    roots = np.array([groups[position] for position in positions])
    if (roots == roots[0]).all():
        return
    shingles, starts, sizes = _numbered_shingles(texts)
    is_in_text = np.zeros(shingles.max() + 1, dtype=np.int32)
    for i in range(1, len(texts)):
        if (roots[:i] == roots[i]).all():
            continue
        own = shingles[starts[i] : starts[i] + sizes[i]]
        is_in_text[own] = 1
        common = np.add.reduceat(is_in_text[shingles[: starts[i]]], starts[:i])
        is_in_text[own] = 0
        similarity = common / (sizes[:i] + sizes[i] - common)
        for other in np.unique(roots[:i][similarity >= MIN_SIMILARITY]):
            groups.merge(positions[i], int(other))
            roots[(roots == other) | (roots == roots[i])] = groups[positions[i]]


def _numbered_shingles(texts: Sequence[str]) -> tuple[NDArray[np.intp], ...]:
    """Return the shingles of all texts as numbers, each text's start among them, and its count."""
    numbers: dict[str, int] = {}
    rows = [
        np.array([numbers.setdefault(shingle, len(numbers)) for shingle in _shingles(text)])
        for text in texts
    ]
    sizes = np.array([len(row) for row in rows])
    return np.concatenate(rows), np.cumsum(sizes) - sizes, sizes


def _pairs_of_similar_hashes(hashes: NDArray[np.uint64]) -> Iterator[tuple[int, int]]:
    """Yield pairs of distinct hashes that differ in few bits, some of them more than once."""
    edges = np.linspace(0, 64, HASH_BANDS + 1).astype(int).tolist()
    masks = [(1 << end) - (1 << start) for start, end in pairwise(edges)]
    for first, second in combinations(masks, 2):
        keys = hashes & np.uint64(first | second)
        order = np.argsort(keys, kind="stable")
        left, step = np.arange(len(order)), 1
        while True:  # every pair in a run of equal keys, by its distance in the run
            left = left[left + step < len(order)]
            left = left[keys[order[left]] == keys[order[left + step]]]
            if not len(left):
                break
            pairs = np.stack([order[left], order[left + step]], axis=1)
            different = np.bitwise_count(hashes[pairs[:, 0]] ^ hashes[pairs[:, 1]])
            yield from map(tuple, pairs[different <= MAX_DIFFERENT_BITS].tolist())
            step += 1
