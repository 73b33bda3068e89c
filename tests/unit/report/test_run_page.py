"""Slices of posts that are evaluated separately."""

from mvcn.report.run_page import slices
from mvcn.types import Post


def post(number, text, image=b"x", **labels):
    return Post(str(number), text, image, "good", **labels)


def test_each_post_is_in_one_group_of_each_kind():
    posts = [
        post(1, "one two three", text_label="good", image_label="good"),
        post(2, " ", text_label="good", image_label="bad"),
        post(3, "a fine day at the sea with all of you https://t.co/x", image=None),
        post(4, "five words are in it"),
    ]
    train = [post(9, "A fine day at the sea with all of you!")]
    found = slices(posts, train)
    assert found["modalities"] == [
        "text and image",
        "image alone",
        "text alone",
        "text and image",
    ]
    assert found["labels of text and image"] == [
        "equal",
        "different",
        "not both labelled",
        "not both labelled",
    ]
    assert found["near-duplicate among the training texts"] == ["no", "no", "yes", "no"]
    assert found["length of the text"] == [
        "0 to 3 words",
        "0 to 3 words",
        "11 words",
        "5 words",
    ]


def test_texts_of_one_length_are_one_group():
    found = slices([post(i, f"word{i} and word") for i in range(5)], [])
    assert set(found["length of the text"]) == {"3 words"}
