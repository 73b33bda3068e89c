import pytest

from mvcn.audit.posts import (
    find_conflicting_labels,
    find_duplicate_groups,
    find_duplicates,
    find_leakage,
)
from mvcn.types import ImageFacts

LONG = "the quick brown fox jumps over the lazy dog while everybody sleeps at home today"


def facts_of(digest, bits=None):
    return ImageFacts(digest, 300, 200, hash(digest) % 2**64 if bits is None else bits, 40.0)


@pytest.fixture
def posts(audited):
    """0, 3: equal texts; 1, 4: similar texts; 2, 5: equal images; 6, 7: similar; 8: alone."""
    texts = [
        "Good Morning",
        LONG,
        "c",
        "good morning http://t.co/x",
        f"{LONG}!!",
        "f",
        "g",
        "h",
        "i",
    ]
    digests = ["a", "b", "c", "d", "e", "c", "g", "h", "i"]
    bits = [0, 2**20 - 1, 2**40 - 2**20, 2**60 - 2**40, 0x5555 << 48, 2**40 - 2**20]
    bits += [0x33333333, 0x33333332, 0x0F0F0F0F0F0F0F0F]
    return audited(
        text=texts,
        label=["a", "a", "a", "b", "a", "b", "a", "b", "a"],
        facts=[facts_of(d, b) for d, b in zip(digests, bits, strict=True)],
        splits={"train": [0, 1, 2, 6, 8], "dev": [3, 5, 8], "test": [4, 7]},
    )


def test_duplicates_of_each_kind_are_groups_of_ids(posts):
    finding = find_duplicates(posts, find_duplicate_groups(posts))
    assert finding.details == {
        "equal_text": [["p0", "p3"]],
        "similar_text": [["p0", "p3"], ["p1", "p4"]],
        "equal_image": [["p2", "p5"]],
        "similar_image": [["p2", "p5"], ["p6", "p7"]],
    }
    assert finding.count == 8
    assert finding.summary.startswith("1 group of equal text, 2 groups of similar text")
    assert len(finding.examples) == 4


def test_leakage_is_counted_by_pair_of_splits_and_kind(posts):
    finding = find_leakage(posts, find_duplicate_groups(posts))
    none = {"same_id": 0, "equal_text": 0, "similar_text": 0, "equal_image": 0, "similar_image": 0}
    assert finding.details["affected"] == {
        "train-dev": {
            **{"same_id": 1, "equal_text": 1, "similar_text": 1},
            **{"equal_image": 1, "similar_image": 1, "any": 3},
        },
        "train-test": {**none, "similar_text": 1, "similar_image": 1, "any": 2},
        "dev-test": {**none, "any": 0},
    }
    assert finding.details["affected_ids"]["train-dev"] == ["p3", "p5", "p8"]
    assert finding.details["same_id"] == [
        [{"id": "p8", "split": "train"}, {"id": "p8", "split": "dev"}]
    ]
    assert finding.details["equal_text"] == [
        [{"id": "p0", "split": "train"}, {"id": "p3", "split": "dev"}]
    ]
    assert finding.count == 5


def test_duplicates_inside_one_split_are_no_leakage(audited):
    posts = audited(text=["same", "same", "other"], splits={"train": [0, 1], "dev": [2]})
    assert find_leakage(posts, find_duplicate_groups(posts)).count == 0


def test_examples_of_large_groups_begin_with_one_post_of_each_split(audited):
    posts = audited(text=["same"] * 9, splits={"train": list(range(8)), "dev": [8]})
    (example,) = find_leakage(posts, find_duplicate_groups(posts)).examples
    assert example.positions[:2] == (0, 8)
    assert sorted(example.positions) == list(range(9))


def test_conflicting_labels_say_what_is_equal(audited):
    posts = audited(
        text=["one", "one", "two", "two", "three", "four", "five", "five"],
        label=["a", "b", "a", "b", "a", "b", "a", "a"],
        facts=[facts_of(digest, i << 32) for i, digest in enumerate("ssxyttuv")],
    )
    finding = find_conflicting_labels(posts, find_duplicate_groups(posts))
    assert finding.details == {
        "text_and_image": [{"p0": "a", "p1": "b"}],
        "text": [{"p2": "a", "p3": "b"}],
        "image": [{"p4": "a", "p5": "b"}],
        "agreement": {
            "text_and_image": {"groups": 1, "share": 0},
            "text": {"groups": 3, "share": pytest.approx(1 / 3)},
            "image": {"groups": 2, "share": 0},
        },
    }
    assert finding.count == 6


def test_each_group_counts_once_in_the_agreement(audited):
    posts = audited(
        text=["one"] * 4 + ["two"] * 2 + ["three"] * 2,
        label=["a", "a", "b", None, "a", "a", "a", None],
    )
    agreement = find_conflicting_labels(posts, find_duplicate_groups(posts)).details["agreement"]
    assert agreement["text"] == {"groups": 2, "share": pytest.approx((1 / 3 + 1) / 2)}
    assert agreement["image"] == {"groups": 0, "share": None}


def test_an_unknown_label_conflicts_with_none(audited):
    posts = audited(text=["same", "same"], label=["a", None])
    assert find_conflicting_labels(posts, find_duplicate_groups(posts)).count == 0
