"""Posts of programs: types that are missing or odd, and the numbers of their labels."""

import dataclasses
import logging
from pathlib import Path

import numpy as np
import pandas
import pytest

from mvcn.data.posts import (
    NO_LABEL,
    check_posts,
    check_text,
    each_post,
    fingerprint,
    label_ids,
)
from mvcn.errors import DataError
from mvcn.types import Post

CLASSES = ("bad", "fair", "good")


def given_post(post_id, text, image=None):
    """A post as a program makes it that nobody has checked the types of."""
    post = Post(post_id, "", None)
    object.__setattr__(post, "text", text)
    object.__setattr__(post, "image", image)
    return post


@pytest.mark.parametrize("missing", [None, float("nan"), np.float32("nan"), pandas.NA, pandas.NaT])
def test_missing_values_are_no_text_and_no_image(missing):
    assert check_text(missing) == ""
    assert check_posts([given_post("1", missing, missing)]) == [Post("1", "", None)]


def test_a_text_is_a_plain_string():
    assert type(check_text(np.str_("so good"))) is str
    with pytest.raises(DataError, match="must be a string, not int"):
        check_text(1)


def test_what_is_of_another_type_is_named():
    with pytest.raises(DataError, match="Post 'b': The text of a post must be a string"):
        check_posts([Post("a", "x", None), given_post("b", 1)])
    with pytest.raises(DataError, match="not list of str"):
        list(each_post(["a text"]))


def test_lone_surrogates_are_replaced_and_counted_once(caplog):
    caplog.set_level(logging.WARNING)
    posts = [Post("1", "a\ud83d", Path("a.jpg"), attributes=("b\ude00", "c")), Post("2", "d", None)]
    first, second = check_posts(posts)
    assert (first.text, first.attributes) == ("a\ufffd", ("b\ufffd", "c"))
    assert second == posts[1]
    (line,) = [record.message for record in caplog.records]
    assert line.startswith("In the text of 1 post, such as post '1', 2 lone surrogates are")


def test_the_fingerprint_is_that_of_ids_texts_and_labels_in_order():
    posts = [Post("1", "a", None, "x"), Post("2", "b", Path("b.jpg"), None, "y", "z")]
    usual = fingerprint(posts)
    elsewhere = [dataclasses.replace(post, image=None, split="dev") for post in posts]
    assert fingerprint(elsewhere) == usual
    changed = [
        dataclasses.replace(posts[1], **{name: "other"})
        for name in ("id", "text", "label", "text_label", "image_label")
    ]
    others = [[posts[0], post] for post in changed] + [posts[::-1], posts[:1]]
    assert len({usual, *map(fingerprint, others)}) == 1 + len(others)


def test_a_number_is_the_place_among_the_classes():
    posts = [Post("1", "x", None, "good", "bad", "fair"), Post("2", "y", None)]
    fields = ("label", "text_label", "image_label")
    assert [label_ids(posts, CLASSES, field) for field in fields] == [
        [2, NO_LABEL],
        [0, NO_LABEL],
        [1, NO_LABEL],
    ]


@pytest.mark.parametrize(
    ("labels", "field"),
    [
        (("odd", None, None), "label"),
        (("bad", "odd", None), "text_label"),
        (("bad", None, "odd"), "image_label"),
    ],
)
def test_an_unknown_label_names_its_post(labels, field):
    posts = [Post("1", "x", None, "bad"), Post("post-7", "x", None, *labels)]
    which = field.replace("_", " ")
    with pytest.raises(DataError, match=rf"Post 'post-7' has the {which} 'odd'.*bad, fair, good"):
        label_ids(posts, CLASSES, field)


def test_a_label_in_another_case_is_told_how_to_be_written():
    with pytest.raises(
        DataError, match=r"write it as 'good', or merge such labels with --normalize-la"
    ):
        label_ids([Post("1", "x", None, "Good")], CLASSES)
