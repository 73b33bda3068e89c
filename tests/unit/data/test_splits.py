"""Laws of the stratified split, and lists of ids good and bad."""

import subprocess
import sys
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvcn.data.splits import read_ids, select_posts, stratified_split
from mvcn.errors import DataError
from mvcn.types import Corpus, Post

SHARES = {"train": 0.8, "dev": 0.1, "test": 0.1}


def posts_labelled(labels):
    return [Post(str(i), "", None, label) for i, label in enumerate(labels)]


@st.composite
def post_labels(draw):
    """Labels of up to four classes with at least three posts each, in any order."""
    sizes = draw(st.lists(st.integers(3, 40), min_size=1, max_size=4))
    labels = [f"class {k}" for k, size in enumerate(sizes) for _ in range(size)]
    return draw(st.permutations(labels))


@st.composite
def part_shares(draw):
    weights = draw(st.lists(st.integers(1, 20), min_size=1, max_size=3))
    return {f"part {i}": weight / sum(weights) for i, weight in enumerate(weights)}


seeds = st.integers(0, 2**32 - 1)


@given(post_labels(), part_shares(), seeds)
def test_parts_are_disjoint_complete_and_in_the_order_of_the_posts(labels, shares, seed):
    posts = posts_labelled(labels)
    parts = stratified_split(posts, shares, seed)
    assert list(parts) == list(shares)
    assert sorted((p for part in parts.values() for p in part), key=posts.index) == posts
    for part in parts.values():
        assert part == sorted(part, key=posts.index)


@given(post_labels(), part_shares(), seeds)
def test_each_part_has_its_share_of_each_class_to_within_one_post(labels, shares, seed):
    posts = posts_labelled(labels)
    totals = Counter(post.label for post in posts)
    for name, part in stratified_split(posts, shares, seed).items():
        counts = Counter(post.label for post in part)
        for label, total in totals.items():
            assert abs(counts[label] - Fraction(shares[name]) * total) <= 1


@given(post_labels(), part_shares(), seeds)
def test_the_same_seed_gives_the_same_split(labels, shares, seed):
    posts = posts_labelled(labels)
    assert stratified_split(posts, shares, seed) == stratified_split(posts, shares, seed)


@pytest.mark.parametrize(
    ("count", "shares", "sizes"),
    [
        (100, SHARES, [80, 10, 10]),
        (10, SHARES, [8, 1, 1]),
        (7, {"train": 0.5, "dev": 0.5}, [4, 3]),  # 3.5 and 3.5: a tie goes to the first
        (8, SHARES, [6, 1, 1]),  # 6.4, 0.8, 0.8: the two remainders of 0.8 go first
        (9, {"a": 0.5, "b": 0.3, "c": 0.2}, [4, 3, 2]),  # 4.5, 2.7, 1.8: to 1.8, then 2.7
    ],
)
def test_sizes_are_by_largest_remainder(count, shares, sizes):
    parts = stratified_split(posts_labelled(["x"] * count), shares, seed=0)
    assert [len(part) for part in parts.values()] == sizes


def test_every_post_gets_everywhere_over_seeds():
    posts = posts_labelled("aaaaabbbbb")
    hits = Counter(
        post.id
        for seed in range(500)
        for post in stratified_split(posts, {"train": 0.8, "dev": 0.2}, seed)["dev"]
    )
    # Binomial(500, 1 / 5): mean 100, standard deviation 8.9; five of them are 45.
    assert all(55 < hits[post.id] < 145 for post in posts)


def test_does_not_depend_on_the_hash_seed():
    program = (
        "from mvcn.data.splits import stratified_split; from mvcn.types import Post;"
        "posts = [Post(str(i), '', None, 'abc'[i % 3]) for i in range(60)];"
        "print([p.id for p in stratified_split(posts, {'a': 0.5, 'b': 0.5}, 3)['a']])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for hash_seed in ("1", "2", "3")
    }
    assert len(outputs) == 1


@pytest.mark.parametrize(
    ("labels", "shares", "message"),
    [
        (["a", "a", "a", "b", "b"], SHARES, r"Class 'b' has 2 post\(s\), too few for the 3 parts"),
        (["a", None], SHARES, "Post '1' has no label"),
        (["a"] * 9, {"train": 0.8, "dev": 0.1}, "must be above 0 and sum to 1"),
        (["a"] * 9, {"train": 1.2, "dev": -0.2}, "must be above 0 and sum to 1"),
        (["a"] * 9, {}, "must be above 0 and sum to 1"),
    ],
)
def test_refuses_what_cannot_be_split(labels, shares, message):
    with pytest.raises(DataError, match=message):
        stratified_split(posts_labelled(labels), shares, seed=0)


@pytest.mark.parametrize(
    "content", [b"7\nx\n12\n", b"\xef\xbb\xbf7\r\n\r\n x \r\n12", b"7\n\nx\n\n12"]
)
def test_reads_ids_in_order(tmp_path, content):
    (tmp_path / "dev.txt").write_bytes(content)
    assert read_ids(tmp_path / "dev.txt") == ["7", "x", "12"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"7\n8\n\n7\n", r"dev\.txt, line 4: id '7' is on line 1 already"),
        (b"\n \n", r"dev\.txt holds no ids"),
        (b"7\n\xff\n", r"dev\.txt cannot be read .* UTF-8"),
    ],
)
def test_refuses_bad_lists_of_ids(tmp_path, content, message):
    (tmp_path / "dev.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_ids(tmp_path / "dev.txt")


def test_refuses_a_missing_list_of_ids(tmp_path):
    with pytest.raises(DataError, match=r"dev\.txt cannot be read"):
        read_ids(tmp_path / "dev.txt")


CORPUS = Corpus(posts_labelled("abc"), ("a", "b", "c"), {"contradictory": ("77", "78")})


def test_selects_posts_in_the_order_of_the_ids():
    assert select_posts(CORPUS, ["2", "0"], "dev.txt") == [CORPUS.posts[2], CORPUS.posts[0]]


def test_names_the_first_few_unknown_ids_and_their_source():
    with pytest.raises(
        DataError, match=r"dev\.txt names posts .* \(x, 10, 11, 12, 13 and 2 more\)"
    ):
        select_posts(CORPUS, ["x", "1", "10", "11", "12", "13", "14", "15"], "dev.txt")


def test_says_why_the_data_set_removed_a_post():
    with pytest.raises(DataError, match=r"dev\.txt .* removes as contradictory \(78\)"):
        select_posts(CORPUS, ["1", "78"], "dev.txt")
