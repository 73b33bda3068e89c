"""Slices of posts that are evaluated separately, in their natural order."""

import numpy as np
import pytest

from mvcn.evaluation.metrics import evaluate_predictions
from mvcn.report.slices import FEWEST_POSTS, Slice, slices
from mvcn.types import Post


def post(number, text, image=b"x", **labels):
    return Post(str(number), text, image, "good", **labels)


def evaluation(right, wrong):
    labels = np.zeros(right + wrong, np.int64)
    predicted = np.repeat([0, 1], [right, wrong])
    return evaluate_predictions(np.eye(2)[predicted], labels, ("good", "bad"))


def test_each_post_is_in_one_group_of_each_kind():
    posts = [
        post(1, "one two three", text_label="good", image_label="good"),
        post(2, " ", text_label="good", image_label="bad"),
        post(3, "a fine day at the sea with all of you https://t.co/x", image=None),
        post(4, "five words are in it"),
    ]
    learned = [post(9, "A fine day at the sea with all of you!")]
    found = {title: groups for title, (_, groups) in slices(posts, learned).items()}
    assert [*found.values()] == [
        ["text and image", "image alone", "text alone", "text and image"],
        ["equal", "different", "not both labelled", "not both labelled"],
        ["0 to 3 words", "0 to 3 words", "11 words", "5 words"],
        ["no", "no", "yes", "no"],
    ]


def test_lengths_are_from_short_to_long_whatever_their_posts():
    counts = [30, 2, 12, 2, 13, 30, 30, 29, 1, 2, 2, 2]
    names, groups = slices([post(i, "word " * n) for i, n in enumerate(counts)], [])[
        "Length of the text"
    ]
    assert [*names] == ["1 to 2 words", "12 to 13 words", "29 to 30 words"]
    for count, group in zip(counts, groups, strict=True):
        assert count in range(int(group.split()[0]), int(group.split()[2]) + 1)


def test_texts_of_one_length_are_one_group():
    names, _ = slices([post(i, f"word{i} and word") for i in range(5)], [])["Length of the text"]
    assert names == ["3 words"]


def test_few_posts_are_counted_and_have_no_shares():
    rows = Slice({"many": evaluation(FEWEST_POSTS, 0), "few": evaluation(1, 0)}).rows
    assert [(row.name, row.right, row.posts) for row in rows] == [("many", 30, 30), ("few", 1, 1)]
    assert rows[0].shares == ("100", "100 to 100", "100")
    assert rows[1].shares is None


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ([(90, 10), (10, 90)], "measurably lower, 10 % for 'group 1', against 90 % for 'group 0'"),
        ([(70, 30), (72, 28)], "From 70 % for 'group 0' to 72 % for 'group 1': the intervals over"),
        ([(70, 30), (1, 1)], "Too few posts"),
    ],
)
def test_the_sentence_says_whether_groups_differ(counts, said):
    groups = {f"group {k}": evaluation(*one) for k, one in enumerate(counts)}
    assert said in Slice(groups).sentence
