"""Folders of images as people have them: nothing of them is read wrongly or left in silence."""

import logging

import pytest

from mvcn.data.datasets import read_corpus
from mvcn.errors import DataError
from tests.unit.data.written_files import write


def read(folder):
    return read_corpus("image-folder", folder).posts


def warnings(caplog):
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


LINES = "".join(f'{{"file_name": "{n}.jpg", "text": "words"}}\n' for n in range(2))


def test_posts_of_parts_are_called_by_their_images(tmp_path):
    parts = ("train", "validation")
    files = {f"{part}/{n}.jpg": b"" for part in parts for n in range(2)}
    tables = {f"{part}/metadata.jsonl": LINES for part in parts}
    posts = read(write(tmp_path, files | tables))
    assert [(post.id, post.split) for post in posts] == [
        ("train/0.jpg", "train"),
        ("train/1.jpg", "train"),
        ("validation/0.jpg", "dev"),
        ("validation/1.jpg", "dev"),
    ]


def test_rows_without_an_image_of_their_own_are_called_by_their_number(tmp_path):
    rows = "file_name,text\na.jpg,one\nb.jpg,two\nb.jpg,three\n,four\n../c.jpg,five\n"
    posts = read(write(tmp_path, {"metadata.csv": rows, "a.jpg": b"", "b.jpg": b""}))
    assert [post.id for post in posts] == ["a.jpg", "2", "3", "4", "5"]


def test_ids_of_a_table_come_first(tmp_path):
    files = {"metadata.csv": "id,file_name,text\nx,a.jpg,one\n", "a.jpg": b""}
    assert [post.id for post in read(write(tmp_path, files))] == ["x"]


def test_images_that_the_table_does_not_name_are_counted(tmp_path, caplog):
    files = {"metadata.jsonl": LINES, "0.jpg": b"", "1.jpg": b"", "2.jpg": b"", "more/3.PNG": b""}
    hidden = {".cache/4.png": b"", "__MACOSX/5.png": b""}
    assert len(read(write(tmp_path, files | hidden))) == 2
    (message,) = warnings(caplog)
    assert "metadata.jsonl does not list 2 images of its folder, such as" in message
    assert "2.jpg: only listed images are read" in message


def test_the_case_of_the_name_of_the_table_does_not_matter(tmp_path):
    files = {"Metadata.CSV": "file_name,text\na.jpg,words\n", "a.jpg": b""}
    assert [post.text for post in read(write(tmp_path, files))] == ["words"]


def test_what_systems_and_users_put_next_to_classes_is_left(tmp_path, caplog):
    caplog.set_level("INFO")
    next_to_them = {
        "README.txt": "words",
        "__MACOSX/cat/._a.png": b"",
        "desktop.ini": b"",
        ".DS_Store": b"",
    }
    inside = {"cat/clip.mp4": b"", "cat/other.txt": "words", "dog/Thumbs.db": b""}
    images = {"cat/a.png": b"", "dog/b.png": b""}
    posts = read(write(tmp_path, next_to_them | inside | images))
    assert [(post.id, post.label) for post in posts] == [("cat/a.png", "cat"), ("dog/b.png", "dog")]
    assert (
        f"{tmp_path / 'README.txt'} is not read because it is not in a class folder." in caplog.text
    )
    (message,) = warnings(caplog)
    assert "2 files are not read, such as" in message
    assert "clip.mp4: only images and their texts are." in message


def test_folders_below_that_of_a_class_belong_to_it(tmp_path):
    files = {
        "cat/sub1/1.jpg": b"",
        "cat/2.jpg": b"",
        "dog/a/b/3.jpg": b"",
        "dog/a/b/3.txt": "three",
    }
    write(tmp_path, files)
    (tmp_path / "dog/a/circle").symlink_to(tmp_path / "dog")
    assert [(post.id, post.label, post.text) for post in read(tmp_path)] == [
        ("cat/2.jpg", "cat", ""),
        ("cat/sub1/1.jpg", "cat", ""),
        ("dog/a/b/3.jpg", "dog", "three"),
    ]


def test_images_without_classes_are_posts_without_labels(tmp_path, caplog):
    files = {"b.jpg": b"", "a.png": b"", "a.txt": "words", "README.md": ""}
    posts = read(write(tmp_path, files))
    found = [(post.id, post.text, post.label) for post in posts]
    assert found == [("a.png", "words", None), ("b.jpg", "", None)]
    assert f"{tmp_path} has no class folders: its 2 images are posts without labels." in (
        warnings(caplog)
    )


@pytest.mark.parametrize("name", ["cat", "cat/deep"])
def test_a_folder_that_may_not_be_read_is_not_empty(place, forbid, name):
    write(place, {"cat/a.png": b"", "cat/deep/b.png": b"", "dog/c.png": b""})
    forbid(place / name)
    with pytest.raises(DataError, match=r"permission denied\): run chmod \+rx"):
        read(place)
