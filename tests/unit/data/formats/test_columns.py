"""Which columns are taken for what, what is said of it, and when nobody can know."""

import json
import logging

import pytest

from mvcn.data.formats.columns import COLUMNS
from mvcn.data.formats.rows import TableOptions
from mvcn.data.table import read_table
from mvcn.errors import ConfigError, DataError

IMAGE_NAMES = (
    *("img", "IMAGE", "Image Path", "image_path", "img_path", "imagepath", "filename", "file_name"),
    *("image_file", "ImageFile", "photo", "Picture", "pic", "media", "images", "img_name"),
    *("image_name", "image-filename", "path", "file", "image_url", "meme"),
)
TEXT_NAMES = (
    *("tweet", "Tweet Text", "caption", "content", "sentence", "title", "comment", "review"),
    *("TEXT", "body", "message", "post_text", "full_text", "review_text"),
)
LABEL_NAMES = ("sentiment", "class", "Category", "target", "gold_label", "labels", "LABEL")
ID_NAMES = ("tweet_id", "uid", "ID", "post_id", "TweetID")
SPLIT_NAMES = ("subset", "fold", "set", "Split", "partition")


@pytest.fixture
def read(tmp_path):
    """Write rows as JSON lines, and read them."""

    def write_and_read(*rows, columns=None, **options):
        path = tmp_path / "posts.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return read_table(path, columns=columns, options=TableOptions(**options))

    return write_and_read


@pytest.mark.parametrize("name", IMAGE_NAMES)
def test_images_are_found_under_usual_names(name, read, tmp_path):
    assert read({"text": "a", name: "b.png"}).posts[0].image == tmp_path / "b.png"


@pytest.mark.parametrize("name", TEXT_NAMES)
def test_texts_are_found_under_usual_names(name, read):
    assert read({name: "a lovely day", "image": "b.png"}).posts[0].text == "a lovely day"


@pytest.mark.parametrize("name", LABEL_NAMES)
def test_labels_are_found_under_usual_names(name, read):
    assert read({"text": "a", name: "x"}).posts[0].label == "x"


@pytest.mark.parametrize("name", ID_NAMES)
def test_ids_are_found_under_usual_names(name, read):
    assert read({"text": "a", name: "x7"}).posts[0].id == "x7"


@pytest.mark.parametrize("name", SPLIT_NAMES)
def test_parts_are_found_under_usual_names(name, read):
    assert read({"text": "a", name: "valid"}).posts[0].split == "dev"


def test_a_fold_that_is_no_part_is_not_read(read):
    corpus = read({"text": "a", "fold": 3}, {"text": "b", "fold": "4"})
    assert [post.split for post in corpus.posts] == [None, None]


def test_our_own_name_comes_first(read):
    row = {"text": "mine", "title": "theirs", "label": "x", "sentiment": "y"}
    post = read(row).posts[0]
    assert (post.text, post.label) == ("mine", "x")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"tweet": "a", "caption": "b"}, "'tweet' and 'caption' could .* --columns text=tweet"),
        ({"text": "a", "img": "b.png", "photo": "c.png"}, "'img' and 'photo' could each be"),
        ({"text": "a", "sentiment": "x", "class": "y"}, "could each be the column 'label'"),
    ],
)
def test_two_that_fit_are_asked_for(row, message, read):
    with pytest.raises(DataError, match=message):
        read(row)


def test_what_prediction_does_not_read_is_not_asked_for(read):
    corpus = read({"text": "a", "sentiment": "x", "class": "nan"}, reads_labels=False)
    assert [post.label for post in corpus.posts] == [None]


@pytest.mark.parametrize(
    "cell",
    [
        *("pics/a.jpg", "a.PNG", "https://a.b/c.webp?size=2", "C:\\pics\\a.jpeg"),
        *({"bytes": None, "path": "a.jpg"}, "data:image/png;base64,AAAA", "/9j/4AAQ"),
    ],
)
def test_a_column_that_seems_to_hold_images_is_asked_for(cell, read):
    with pytest.raises(DataError, match=r"'foto' may be it: .*--columns image=foto.*image=\."):
        read({"text": "a", "foto": cell})
    assert read({"text": "a", "foto": cell}, columns={"image": ""}).posts[0].image is None


def test_a_column_that_seems_to_hold_texts_is_asked_for(read):
    with pytest.raises(DataError, match="'words' may be it: use it with --columns text=words"):
        read({"image": "a.png", "words": "what a lovely day"})


@pytest.mark.parametrize("cell", ["今天天气很好", "sehr gut", "نص عربي قصير"])
def test_texts_of_few_words_or_without_spaces_are_asked_for(cell, read):
    with pytest.raises(DataError, match="--columns text=Spruch"):
        read({"image": "a.png", "Spruch": cell})


@pytest.mark.parametrize("cell", ["2024-01-05 10:00", "Mon Jan 05 10:00:00 +0000 2024", "bob"])
def test_dates_and_names_are_no_texts(cell, read):
    assert read({"image": "a.png", "other": cell}).posts[0].text == ""


def test_columns_that_can_be_neither_do_not_matter(read):
    posts = read({"text": "a", "date": "2024-01-05", "user": "bob", "likes": 3, "geo": None}).posts
    assert [(post.text, post.image) for post in posts] == [("a", None)]


def test_a_second_column_of_images_is_named_in_a_warning(read, caplog):
    read({"text": "a", "image": "a.png", "thumb": "b.png"})
    assert [r.levelname for r in caplog.records if "'thumb' seems to hold images" in r.message] == [
        "WARNING"
    ]


def test_the_log_says_what_is_read_and_what_is_not(read, caplog):
    caplog.set_level(logging.INFO)
    corpus = read({"tweet": "a", "img": "b.png", "sentiment": "x", "date": "2024"})
    (line,) = [record.message for record in caplog.records]
    assert line.endswith(
        "posts.jsonl: text from 'tweet', image from 'img', label from 'sentiment'; "
        "not read: 'date'."
    )
    assert corpus.columns == {"text": "tweet", "image": "img", "label": "sentiment"}


def test_what_a_run_remembers_is_read_again_where_it_is_there(read):
    remembered = {"text": "words", "image": "foto", "label": "mood"}
    row = {"words": "a b", "text": "c", "mood": "x"}
    post = read(row, remembered=remembered).posts[0]
    assert (post.text, post.label, post.image) == ("a b", "x", None)


def test_what_a_run_ignored_is_ignored_again_unless_it_is_given(read):
    rows = [{"tweet_id": "7", "text": "a"}, {"tweet_id": "7", "text": "b"}]
    assert [post.id for post in read(*rows, remembered={"id": ""}).posts] == ["1", "2"]
    rows[1]["tweet_id"] = "8"
    found = read(*rows, columns={"id": "tweet_id"}, remembered={"id": ""})
    assert [post.id for post in found.posts] == ["7", "8"]


def test_a_key_that_only_later_rows_have_is_found(read, tmp_path):
    rows = [{"text": "a"}] * 200 + [{"text": "a", "img": "b.png"}]
    assert read(*rows).posts[-1].image == tmp_path / "b.png"


def test_ids_that_repeat_can_be_left_out(read):
    rows = [{"tweet_id": 1, "text": "a"}, {"tweet_id": 1, "text": "b"}]
    with pytest.raises(DataError, match="--columns id="):
        read(*rows)
    assert [post.id for post in read(*rows, columns={"id": ""}).posts] == ["1", "2"]


def test_only_our_names_can_be_mapped(read):
    with pytest.raises(ConfigError, match=f"choose from {', '.join(COLUMNS)}"):
        read({"text": "a"}, columns={"zzz": "caption"})
    with pytest.raises(ConfigError, match="'tweet' cannot be mapped to a column: write text=tweet"):
        read({"tweet": "a"}, columns={"tweet": "text"})


@pytest.mark.parametrize("name", ["text", "lang"])
def test_only_a_column_that_is_read_must_not_come_twice(name, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(f"text,{name},{name}\n" if name != "text" else "text,text\n")
    path.write_text(path.read_text() + ("a,en,de\n" if name != "text" else "a,b\n"))
    if name == "text":
        with pytest.raises(DataError, match="has the column 'text' twice"):
            read_table(path)
    else:
        assert read_table(path).posts[0].text == "a"
