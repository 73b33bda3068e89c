"""Numbers of labels: places among the names of the classes."""

import pytest

from mvcn.data.labels import NO_LABEL, label_ids
from mvcn.errors import DataError
from mvcn.types import Post

CLASSES = ("bad", "fair", "good")


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
    with pytest.raises(DataError, match=rf"Post post-7 has the {which} 'odd'.*bad, fair, good"):
        label_ids(posts, CLASSES, field)


def test_a_label_in_another_case_is_told_how_to_be_written():
    with pytest.raises(DataError, match=r"write it as 'good', or join labels by --normalize-la"):
        label_ids([Post("1", "x", None, "Good")], CLASSES)
