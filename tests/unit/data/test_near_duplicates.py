"""Near-duplicates against exhaustive comparison, on drawn and on real posts."""

import subprocess
import sys
import time
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvcn.data.datasets.mvsa import read_mvsa_single
from mvcn.data.near_duplicates import (
    MAX_DIFFERENT_BITS,
    MIN_CHARACTERS,
    MIN_CONTRAST,
    duplicate_groups,
    exact_groups,
    near_duplicate_images,
    near_duplicate_texts,
    plain_text,
)
from mvcn.data.splits import read_ids
from mvcn.types import ImageFacts

REAL_MVSA_SINGLE = Path(__file__).parents[4] / "shared" / "data" / "MVSA_Single"
LONG = "the quick brown fox jumps over the lazy dog near the river bank"


def connected(count, is_pair):
    """Groups of two or more by comparing every pair, merging sets until nothing changes."""
    groups = [{i} for i in range(count)]
    for i, j in combinations(range(count), 2):
        if is_pair(i, j):
            merged = [group for group in groups if i in group or j in group]
            groups = [group for group in groups if group not in merged] + [set().union(*merged)]
    return sorted(sorted(group) for group in groups if len(group) > 1)


def similarity(text, other):
    """Jaccard similarity of the five-character shingles of lower-case words, exactly."""
    a, b = ({t[i : i + 5] for i in range(len(t) - 4)} for t in (text, other))
    return Fraction(len(a & b), len(a | b)) if a | b else Fraction(0)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("RT @You:  So\tGood! http://t.co/aB1 \n #wow", "rt @you: so good! #wow"),
        ("https://x.org", ""),
        ("http and https:", "http and"),
        ("see HTTP://x.org", "see http://x.org"),  # the pattern knows lower case alone
    ],
)
def test_plain_text(text, plain):
    assert plain_text(text) == plain


@st.composite
def similar_texts(draw):
    """Texts of lower-case words: a few drawn anew, the others with some words changed."""
    word = st.text("abcde", min_size=1, max_size=7)
    texts = draw(st.lists(st.lists(word, min_size=0, max_size=25), min_size=1, max_size=4))
    for _ in range(draw(st.integers(0, 12))):
        words = list(draw(st.sampled_from(texts)))
        for _ in range(draw(st.integers(0, 2))):
            place = draw(st.integers(0, len(words)))
            words[place : place + draw(st.integers(0, 1))] = [draw(word)]
        texts.append(words)
    return [" ".join(words) for words in texts]


@given(similar_texts())
def test_texts_are_grouped_as_by_comparing_every_pair(texts):
    def is_pair(i, j):
        if texts[i] == texts[j]:
            return texts[i] != ""
        long = min(len(texts[i]), len(texts[j])) >= MIN_CHARACTERS
        return long and similarity(texts[i], texts[j]) >= Fraction(4, 5)

    assert near_duplicate_texts(texts) == connected(len(texts), is_pair)


@pytest.mark.parametrize(
    ("texts", "groups"),
    [
        ([], []),
        (["", "", " ", "http://t.co/a", "http://t.co/b"], []),
        (["lol", "LOL http://t.co/a", "lol!"], [[0, 1]]),
        (["?!", "?!", "!?"], [[0, 1]]),
        ([LONG, "x", LONG.upper() + " https://t.co/c", "RT " + LONG], [[0, 2, 3]]),
        ([LONG.replace(" ", "\n"), LONG.replace(" ", ", "), f"«{LONG}»"], [[0, 1, 2]]),
        (["\ud800 " + LONG, LONG], [[0, 1]]),
        (["好" * MIN_CHARACTERS, "好" * (MIN_CHARACTERS + 1)], [[0, 1]]),
    ],
)
def test_texts_at_the_edges(texts, groups):
    assert near_duplicate_texts(texts) == groups


def test_a_very_long_text_is_compared_like_any_other():
    words = " ".join(map(str, range(20_000)))
    assert near_duplicate_texts([words, LONG, words + " end"]) == [[0, 2]]


def test_many_variants_of_a_template_take_seconds():
    texts = [f"{LONG} on day {i} of the month" for i in range(3000)]
    start = time.monotonic()
    assert near_duplicate_texts(texts) == [list(range(3000))]
    assert time.monotonic() - start < 20


def test_texts_that_share_a_template_without_being_alike_take_seconds():
    pick = np.random.default_rng(0)
    tails = pick.integers(10_000, 99_999, (2000, 3)).tolist()
    texts = [f"{LONG} today {' '.join(map(str, tail))}" for tail in tails]
    start = time.monotonic()
    groups = near_duplicate_texts(texts)
    assert time.monotonic() - start < 20
    few = texts[:150]
    assert near_duplicate_texts(few) == connected(
        len(few), lambda i, j: similarity(few[i], few[j]) >= Fraction(4, 5)
    )
    assert all(len(group) < 20 for group in groups)


def facts_of(hash_, digest="", contrast=50.0):
    return ImageFacts(digest, 9, 9, hash_, contrast)


@st.composite
def similar_hashes(draw):
    hashes = draw(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=4))
    for _ in range(draw(st.integers(0, 12))):
        flipped = draw(st.sets(st.integers(0, 63), max_size=MAX_DIFFERENT_BITS + 2))
        hashes.append(draw(st.sampled_from(hashes)) ^ sum(1 << bit for bit in flipped))
    return hashes


@given(similar_hashes())
def test_images_are_grouped_as_by_comparing_every_pair(hashes):
    def is_pair(i, j):
        return (hashes[i] ^ hashes[j]).bit_count() <= MAX_DIFFERENT_BITS

    facts = [facts_of(hash_, str(i)) for i, hash_ in enumerate(hashes)]
    assert near_duplicate_images(facts) == connected(len(hashes), is_pair)


def test_blank_pictures_and_bad_images_have_only_equal_files_for_near_duplicates():
    blank = MIN_CONTRAST / 2
    facts = [
        facts_of(7, "a", blank),
        facts_of(7, "b", blank),
        facts_of(7, "a", blank),
        facts_of(7, "c"),
        None,
        None,
        ImageFacts("d", problem="damaged"),
        ImageFacts("d", problem="damaged"),
        ImageFacts("", problem="missing"),
        ImageFacts("", problem="missing"),
    ]
    assert near_duplicate_images(facts) == [[0, 2], [6, 7]]
    assert near_duplicate_images([]) == []


def test_many_copies_of_a_picture_and_many_pictures_take_seconds():
    random = np.random.default_rng(0).integers(0, 2**63, 20_000).tolist()
    start = time.monotonic()
    groups = near_duplicate_images([facts_of(hash_) for hash_ in [5] * 20_000 + random])
    assert groups == [list(range(20_000))]
    assert time.monotonic() - start < 20


@given(st.lists(st.none() | st.integers(0, 5), max_size=12))
def test_exact_groups_are_as_by_comparing_every_pair(keys):
    pairs = connected(len(keys), lambda i, j: keys[i] is not None and keys[i] == keys[j])
    assert exact_groups(keys) == pairs


def test_a_group_is_connected_over_texts_and_images():
    texts = ["one", "two", "two", "three", "four", "one"]
    facts = [facts_of(0), facts_of(2**40 - 1), facts_of(2**63), None, None, facts_of(2**30 - 1)]
    # 0 - 5 by text, 1 - 2 by text, 0 - 2 by image (one bit); 3 and 4 are alone.
    assert duplicate_groups(texts, facts) == [0, 0, 0, 1, 2, 0]
    assert duplicate_groups(texts) == [0, 1, 1, 2, 3, 0]


def test_a_caption_of_many_posts_says_nothing_about_those_with_images():
    texts = ["photo"] * 4 + ["one", "one"]
    facts = [*(facts_of(0x0F0F << 12 * n) for n in range(3)), None, None, None]
    assert duplicate_groups(texts, facts) == [0, 0, 0, 0, 1, 1]
    assert duplicate_groups(texts, facts, most=4) == [0, 0, 0, 0, 1, 1]
    assert duplicate_groups(texts, facts, most=3) == [0, 1, 2, 3, 4, 4]


def test_an_image_of_many_posts_says_nothing_about_those_with_texts():
    facts = [facts_of(7)] * 4
    assert duplicate_groups(["one", "two", "three", "four"], facts, most=3) == [0, 1, 2, 3]
    assert duplicate_groups([""] * 4, facts, most=3) == [0, 0, 0, 0]
    assert duplicate_groups(["one"] * 4, most=3) == [0, 0, 0, 0]


def test_does_not_depend_on_the_hash_seed():
    program = (
        "from mvcn.data.near_duplicates import duplicate_groups;"
        f"print(duplicate_groups([{LONG!r} + ' word' * (i % 7) for i in range(40)]))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(outputs) == 1


@pytest.fixture(scope="module")
def real_texts():
    if not REAL_MVSA_SINGLE.is_dir():
        pytest.skip("no ../shared/data/MVSA_Single next to the repository")
    return {post.id: post.text for post in read_mvsa_single(REAL_MVSA_SINGLE).posts}


def test_real_dev_posts_whose_plain_text_is_in_train(real_texts):
    train, dev = (
        [plain_text(real_texts[i]) for i in read_ids(REAL_MVSA_SINGLE / "splits" / f"{name}.txt")]
        for name in ("train", "dev")
    )
    assert len(dev) == 450
    assert sum(text in set(train) for text in dev) == 41


def test_real_texts_are_grouped_as_by_comparing_every_pair(real_texts):
    texts = list(real_texts.values())[:300]
    words = ["".join(c if c.isalnum() or c == "_" else " " for c in plain_text(t)) for t in texts]
    words = [" ".join(text.split()) for text in words]

    def is_pair(i, j):
        if plain_text(texts[i]) == plain_text(texts[j]):
            return plain_text(texts[i]) != ""
        long = min(len(words[i]), len(words[j])) >= MIN_CHARACTERS
        return long and similarity(words[i], words[j]) >= Fraction(4, 5)

    assert near_duplicate_texts(texts) == connected(len(texts), is_pair)
