"""Posts of programs: what is missing, of a subclass, half a character, or of another type."""

import dataclasses
import logging
from pathlib import Path

import numpy as np
import pandas
import pytest

from mvcn.data.posts import check_posts, check_text, each_post, fingerprint
from mvcn.errors import DataError
from mvcn.types import Post


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
    with pytest.raises(DataError, match="must be a string, but is of type int"):
        check_text(1)


def test_what_is_of_another_type_is_named():
    with pytest.raises(DataError, match="Post b: The text of a post must be a string"):
        check_posts([Post("a", "x", None), given_post("b", 1)])
    with pytest.raises(DataError, match="not as list of str"):
        list(each_post(["a text"]))


def test_lone_surrogates_are_replaced_and_counted_once(caplog):
    caplog.set_level(logging.WARNING)
    posts = [Post("1", "a\ud83d", Path("a.jpg"), attributes=("b\ude00", "c")), Post("2", "d", None)]
    first, second = check_posts(posts)
    assert (first.text, first.attributes) == ("a\ufffd", ("b\ufffd", "c"))
    assert second == posts[1]
    (line,) = [record.message for record in caplog.records]
    assert line.startswith("2 lone surrogate(s) in the text of 1 post(s), such as post 1,")


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
