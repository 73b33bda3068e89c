"""Image paths as people write them: what is found, what is not, and that nothing leads out."""

import itertools
import logging
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvcn.data.image_cells import ImageFolder
from mvcn.data.image_paths import path_inside, spellings
from mvcn.data.images import read_image
from mvcn.data.table import read_table
from mvcn.errors import BadImageError

FILES = ("pics/2822.jpg", "pics/a b.JPG", "top.png", "caf\u00e9/\u00e9t\u00e9.png")


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "data"
    for name in FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


SPELLINGS = {
    "pics\\2822.jpg": "pics/2822.jpg",
    ".\\pics\\2822.jpg": "pics/2822.jpg",
    "./pics/2822.jpg": "pics/2822.jpg",
    "pics//2822.jpg": "pics/2822.jpg",
    "pics/../pics/2822.jpg": "pics/2822.jpg",
    "/pics/2822.jpg": "pics/2822.jpg",
    "data/pics/2822.jpg": "pics/2822.jpg",
    "./data/top.png": "top.png",
    "/data/top.png": "top.png",
    "Data\\Pics\\2822.JPG": "pics/2822.jpg",
    "pics/2822.JPG": "pics/2822.jpg",
    "PICS/2822.Jpg": "pics/2822.jpg",
    "pics/a%20b.jpg": "pics/a b.JPG",
    "pics%2F2822.jpg": "pics/2822.jpg",
    '"pics/2822.jpg"': "pics/2822.jpg",
    "'top.png'": "top.png",
    "cafe\u0301/e\u0301te\u0301.png": "caf\u00e9/\u00e9t\u00e9.png",
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_path_is_read_as_a_person_would(name, folder):
    image = ImageFolder(folder).path(name, "row 1")
    assert image == folder / SPELLINGS[name]
    assert read_image(image) == SPELLINGS[name].encode()


def test_the_path_of_the_folder_itself_may_stand_before_a_name(folder):
    last = "/".join(folder.parts[-3:])
    for prefix in (str(folder), last, f"/{last}", last.replace("/", "\\")):
        assert ImageFolder(folder).path(f"{prefix}/top.png", "row 1") == folder / "top.png"


def test_what_is_there_is_never_taken_for_another(tmp_path):
    """Each spelling that is a file of its own is that file."""
    names = ("a.png", "A.png", "%61.png", "'a.png'", "x\\a.png", "x/a.png", "data/a.png")
    root = tmp_path / "data"
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    places = ImageFolder(root)
    for name in names:
        assert read_image(places.path(name, "row 1")) == name.encode()


def test_two_files_that_differ_in_case_alone_are_not_chosen_from(tmp_path):
    for name in ("b.png", "B.png"):
        (tmp_path / name).write_bytes(b"content")
    with pytest.raises(BadImageError, match="it does not exist"):
        read_image(ImageFolder(tmp_path).path("b.PNG", "row 1"))


def test_a_path_that_leads_nowhere_keeps_its_place(folder):
    for name in ("pics/9.jpg", "pics\\9.jpg", "data/9.jpg", "C:\\data\\9.jpg"):
        assert ImageFolder(folder).path(name, "row 1") == folder / name


def test_other_spellings_are_told_once(folder, caplog):
    (folder / "posts.csv").write_text("image\npics\\2822.jpg\ntop.PNG\ntop.png\n")
    with caplog.at_level(logging.INFO, "mvcn.data"):
        images = [post.image for post in read_table(folder / "posts.csv").posts]
    assert [image.name for image in images] == ["2822.jpg", "top.png", "top.png"]
    (message,) = [r.getMessage() for r in caplog.records if r.name == "mvcn.data.image_cells"]
    assert repr("pics\\2822.jpg") in message
    assert str(folder / "pics/2822.jpg") in message


PIECES = ("..", ".", "/", "\\", "%2e%2e", "%2F", "'", "a", "b.png", "data", "secret.png")


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=7))
def test_no_spelling_leads_out_of_the_folder(pieces):
    name = "".join(pieces)
    for one in spellings(name, "/home/me/data"):
        path = path_inside(one, "/home/me/data")
        if path is not None:
            whole = os.path.normpath(f"/home/me/data/{path}")
            assert os.path.commonpath([whole, "/home/me/data"]) == "/home/me/data"
            assert ".." not in path.split("/")


def test_a_file_beside_the_folder_is_never_read(tmp_path):
    """All that can be made of a few pieces, where every wrong turn would find the file."""
    root = tmp_path / "data"
    (root / "data").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(b"secret")
    places = ImageFolder(root)
    pieces = ("..", "/", "\\", "%2e%2e", "data", "secret.png")
    for name in map("".join, itertools.product(pieces, repeat=4)):
        with pytest.raises(BadImageError):
            read_image(places.path(name, "row 1"))
