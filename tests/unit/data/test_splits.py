"""Laws of the stratified split, and lists of ids good and bad."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvcn.data.posts import fingerprint
from mvcn.data.splits import (
    k_folds,
    posts_of_id_file,
    read_ids,
    require_made_for,
    select_posts,
    stratified_split,
    write_splits,
)
from mvcn.errors import DataError, RunError
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
    return {f"split {i}": weight / sum(weights) for i, weight in enumerate(weights)}


seeds = st.integers(0, 2**32 - 1)


@given(post_labels(), part_shares(), seeds)
def test_parts_are_disjoint_complete_and_in_the_order_of_the_posts(labels, shares, seed):
    posts = posts_labelled(labels)
    splits = stratified_split(posts, shares, seed)
    assert list(splits) == list(shares)
    assert sorted((p for split in splits.values() for p in split), key=posts.index) == posts
    for split in splits.values():
        assert split == sorted(split, key=posts.index)


@given(post_labels(), part_shares(), seeds)
def test_each_part_has_its_share_of_each_class_to_within_one_post(labels, shares, seed):
    posts = posts_labelled(labels)
    totals = Counter(post.label for post in posts)
    for name, split in stratified_split(posts, shares, seed).items():
        counts = Counter(post.label for post in split)
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
    splits = stratified_split(posts_labelled(["x"] * count), shares, seed=0)
    assert [len(split) for split in splits.values()] == sizes


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
        (["a", "a", "a", "b", "b"], SHARES, r"Class 'b' has 2 posts, too few for the 3 splits"),
        (["a", None], SHARES, "Post '1' has no label"),
        (["a"] * 9, {"train": 0.8, "dev": 0.1}, "and add up to 1, but are train=0.8, dev=0.1"),
        (["a"] * 9, {"train": 1.2, "dev": -0.2}, "must be above 0 and add up to 1"),
        (["a"] * 9, {}, "must be above 0 and add up to 1"),
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
        (b"7\n8\n\n7\n", r"dev\.txt, line 4: id '7' is already on line 1"),
        (b"\n \n", r"dev\.txt contains no ids"),
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
        DataError, match=r"dev\.txt lists posts .* \(x, 10, 11, 12, 13 and 2 more\)"
    ):
        select_posts(CORPUS, ["x", "1", "10", "11", "12", "13", "14", "15"], "dev.txt")


@pytest.mark.parametrize(
    ("columns", "listed"),
    [
        ({}, r"'0', '1', '2'"),
        ({"id": "tweet"}, r"'0', '1', '2' \(column 'tweet'\)"),
    ],
)
def test_an_unknown_id_is_answered_with_three_that_exist(columns, listed):
    corpus = replace(CORPUS, posts=posts_labelled("abcd"), columns=columns)
    with pytest.raises(DataError, match=rf"\(x\): use its ids, such as {listed}\.$"):
        select_posts(corpus, ["x"], "dev.txt")


def test_says_why_the_data_set_removed_a_post():
    with pytest.raises(DataError, match=r"dev\.txt .* leaves out \(contradictory\), such as 78"):
        select_posts(CORPUS, ["1", "78"], "dev.txt")


@st.composite
def grouped_labels(draw, single_class=False):
    """Labels of three classes and the group of each post: groups of up to three and many alone."""
    labels, groups = [], []
    for group in range(draw(st.integers(0, 12))):
        label = draw(st.integers(0, 2))
        for _ in range(draw(st.integers(2, 3))):
            labels.append(str(label if single_class else draw(st.integers(0, 2))))
            groups.append(group)
    for label in range(3):
        alone = draw(st.integers(9, 25))
        labels += [str(label)] * alone
        groups += range(len(groups) + 100, len(groups) + 100 + alone)
    order = draw(st.permutations(range(len(labels))))
    return [labels[i] for i in order], [groups[i] for i in order]


@given(grouped_labels(), part_shares(), seeds)
def test_a_group_stays_in_one_part(labelled, shares, seed):
    labels, groups = labelled
    posts = posts_labelled(labels)
    splits = stratified_split(posts, shares, seed, groups)
    assert sorted((p for split in splits.values() for p in split), key=posts.index) == posts
    places = {(groups[int(post.id)], name) for name, split in splits.items() for post in split}
    assert len(places) == len(set(groups))


@given(grouped_labels(single_class=True), part_shares(), seeds)
def test_small_groups_leave_each_part_its_share_to_within_one_post(labelled, shares, seed):
    labels, groups = labelled
    totals = Counter(labels)
    splits = stratified_split(posts_labelled(labels), shares, seed, groups)
    for name, split in splits.items():
        counts = Counter(post.label for post in split)
        for label, total in totals.items():
            assert abs(counts[label] - Fraction(shares[name]) * total) <= 1


@given(post_labels(), part_shares(), seeds)
def test_groups_of_one_change_nothing(labels, shares, seed):
    posts = posts_labelled(labels)
    alone = stratified_split(posts, shares, seed, list(range(len(posts))))
    assert alone == stratified_split(posts, shares, seed)


def test_large_groups_go_where_they_fit_and_single_posts_make_up_for_them():
    # Twelve posts, three splits of four; groups of six and three, three alone. The six overfill
    # any split; the three leave one split lacking one and the last lacking four, for three posts.
    posts = posts_labelled("x" * 12)
    shares = {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}
    splits = stratified_split(posts, shares, 0, [0] * 6 + [1] * 3 + [2, 3, 4])
    assert sorted(len(split) for split in splits.values()) == [2, 4, 6]


@given(post_labels(), st.integers(2, 3), seeds)
def test_each_post_is_in_the_dev_part_of_one_fold(labels, folds, seed):
    posts = posts_labelled(labels)
    dealt = k_folds(posts, folds, seed)
    assert len(dealt) == folds
    assert sorted((p for fold in dealt for p in fold["dev"]), key=posts.index) == posts
    for fold in dealt:
        assert [post for post in posts if post not in fold["dev"]] == fold["train"]
        counts = Counter(post.label for post in fold["dev"])
        for label, total in Counter(labels).items():
            assert abs(counts[label] - Fraction(total, folds)) <= 1


def test_folds_keep_groups_together():
    groups = [i // 2 for i in range(20)]
    for fold in k_folds(posts_labelled("ab" * 10), 5, 0, groups):
        assert [len(fold["train"]), len(fold["dev"])] == [16, 4]
        assert len({groups[int(post.id)] for post in fold["dev"]}) == 2


@pytest.mark.parametrize("folds", [-1, 0, 1])
def test_refuses_fewer_than_two_folds(folds):
    with pytest.raises(DataError, match="at least 2 folds, not"):
        k_folds(posts_labelled("aaaa"), folds, 0)


POSTS = posts_labelled("abab")
PARTS = {"train": POSTS[:3], "dev": POSTS[3:]}


def test_written_splits_are_read_again(tmp_path):
    write_splits(tmp_path / "new" / "splits", PARTS, POSTS, {"seed": 3})
    folder = tmp_path / "new" / "splits"
    for name, split in PARTS.items():
        assert select_posts(Corpus(POSTS, ()), read_ids(folder / f"{name}.txt"), "") == split
    about = json.loads((folder / "splits.json").read_text())
    assert about == {
        "fingerprint": fingerprint(POSTS),
        "counts": {"train": {"a": 2, "b": 1}, "dev": {"b": 1}},
        "seed": 3,
    }
    assert sorted(path.name for path in folder.iterdir()) == ["dev.txt", "splits.json", "train.txt"]


def fits_a_line(post_id):
    is_one_word = post_id != "" and post_id == post_id.strip() and len(post_id.split("\n")) == 1
    is_utf8 = post_id.encode(errors="ignore").decode() == post_id
    return is_one_word and is_utf8 and "\r" not in post_id and post_id[0] != "\ufeff"


@given(st.lists(st.text(st.characters(), max_size=4), min_size=1, max_size=4, unique=True))
def test_ids_are_read_as_they_were_or_refused(ids):
    posts = [Post(post_id, "", None, "x") for post_id in ids]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "dev.txt"
        if all(map(fits_a_line, ids)):
            write_splits(path.parent, {"dev": posts}, posts, {})
            assert read_ids(path) == ids
        else:
            with pytest.raises(DataError, match="cannot be written on a single line"):
                write_splits(path.parent, {"dev": posts}, posts, {})
            assert not path.exists()


@pytest.mark.parametrize("post_id", ["", " a", "a\t", "a\nb", "a\r", "\ufeffa", "\ud800"])
def test_refuses_ids_that_do_not_fit_a_line(tmp_path, post_id):
    with pytest.raises(DataError, match="cannot be written on a single line"):
        write_splits(tmp_path, {"dev": [Post(post_id, "", None, "x")]}, POSTS, {})


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"../up": POSTS}, "cannot be called '../up'"),
        ({"": POSTS}, "cannot be called ''"),
        ({"train": POSTS, "dev": []}, "Split 'dev' has no posts"),
    ],
)
def test_refuses_parts_that_cannot_be_written(tmp_path, splits, message):
    with pytest.raises(DataError, match=message):
        write_splits(tmp_path, splits, POSTS, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "message"),
    [("splits.json", "holds another set of splits"), ("dev.txt", "holds other files")],
)
def test_does_not_overwrite_unless_told_to(tmp_path, name, message):
    write_splits(tmp_path, {**PARTS, "test": POSTS[:1]}, POSTS, {})
    for path in tmp_path.iterdir():
        if name not in (path.name, "splits.json"):
            path.unlink()
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(RunError, match=rf"{message}: choose "):
        write_splits(tmp_path, PARTS, POSTS, {})
    assert before == {path: path.read_bytes() for path in tmp_path.iterdir()}
    write_splits(tmp_path, PARTS, POSTS, {}, overwrite=True)
    names = {"dev.txt", "splits.json", "train.txt"}  # no test.txt is left over
    assert {path.name for path in tmp_path.iterdir()} == names


@pytest.mark.parametrize(
    "changed",
    [
        [*POSTS[:3], Post("3", "!", None, "b")],
        [*POSTS[:3], Post("3", "", None, "a")],
        [*POSTS[:3], Post("4", "", None, "b")],
        [*POSTS, Post("4", "", None, "b")],
        POSTS[:3],
    ],
)
def test_splits_are_for_the_posts_that_they_were_made_for(tmp_path, changed):
    write_splits(tmp_path, PARTS, POSTS, {})
    assert posts_of_id_file(Corpus(POSTS, ()), tmp_path, "dev") == POSTS[3:]
    with pytest.raises(DataError, match=r"made for other posts .* again with mvcn split"):
        posts_of_id_file(Corpus(changed, ()), tmp_path, "train")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"fingerprint": 1, "counts": {}}',
        "\udcff",
        '{"fingerprint": "", "counts": {"../a": {}}}',
    ],
)
def test_refuses_a_damaged_description_of_splits(tmp_path, content):
    (tmp_path / "splits.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=r"splits\.json is damaged"):
        require_made_for(tmp_path, POSTS)
