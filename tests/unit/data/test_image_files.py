"""Files of images, found by the id before their suffix or by a path of any spelling."""

import itertools
import json
import logging
import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvcn.config import DataConfig
from mvcn.data.bad_images import missing_images
from mvcn.data.datasets import read_corpus
from mvcn.data.image_files import IMAGE_SUFFIXES, ImageFolder, files_by_id, path_inside, spellings
from mvcn.data.images import read_image
from mvcn.data.prepare import prepare
from mvcn.data.reading import read_dataset
from mvcn.data.table import read_table
from mvcn.errors import BadImageError, DataError

IDS = ("1", "2", "3")


def write(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def write_mvsa(root, suffix, folder="data", text=".txt"):
    rows = "".join(f"{one}\tneutral,neutral\n" for one in IDS)
    root.mkdir(parents=True, exist_ok=True)
    (root / "labelResultAll.txt").write_text(f"ID\ttext,image\n{rows}")
    return write(root, *(f"{folder}/{one}{end}" for one in IDS for end in (suffix, text)))


def write_hfm(root, suffix, folder="image"):
    write(root, *(f"{folder}/{one}{suffix}" for one in IDS))
    (root / "text").mkdir()
    (root / "text/train.txt").write_text("".join(f"{[one, 'words', 1]}\n" for one in IDS))
    return root


def write_clmlf(root, suffix, folder="dataset_image"):
    write(root, *(f"{folder}/{one}{suffix}" for one in IDS))
    entries = [{"id": one, "text": "words", "emotion_label": 1} for one in IDS]
    (root / "train.json").write_text(json.dumps(entries))
    return root


def write_classes(root, suffix, text=".txt"):
    return write(root, *(f"{one}/{one}{end}" for one in IDS for end in (suffix, text)))


WRITERS = {
    "mvsa-single": write_mvsa,
    "hfm": write_hfm,
    "clmlf-json": write_clmlf,
    "image-folder": write_classes,
}
SUFFIXES = (*IMAGE_SUFFIXES, ".JPG", ".Jpeg", ".JFIF", ".PNG")


def found(corpus):
    """The name of each post's image, as the file itself says it."""
    return [read_image(post.image).decode().rpartition("/")[2] for post in corpus.posts]


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_image_is_found_whatever_its_suffix(name, suffix, tmp_path):
    corpus = read_corpus(name, WRITERS[name](tmp_path, suffix))
    assert found(corpus) == [f"{one}{suffix}" for one in IDS]
    assert corpus.missing_images == ()


@pytest.mark.parametrize("text", [".TXT", ".Txt"])
def test_a_text_is_found_whatever_the_case_of_its_suffix(text, tmp_path):
    single = read_corpus("mvsa-single", write_mvsa(tmp_path / "mvsa", ".jpg", text=text))
    assert [post.text for post in single.posts] == [f"data/{one}{text}" for one in IDS]
    classes = read_corpus("image-folder", write_classes(tmp_path / "classes", ".JPG", text))
    assert [post.text for post in classes.posts] == [f"{one}/{one}{text}" for one in IDS]


def test_two_texts_of_one_image_are_refused(tmp_path):
    root = write(tmp_path, "cat/a.png", "cat/a.TXT", "cat/a.txt")
    with pytest.raises(DataError, match=r"a\.TXT and a\.txt are both the text of one image"):
        read_corpus("image-folder", root)


@pytest.mark.parametrize("name", ["mvsa-single", "hfm", "clmlf-json"])
def test_of_two_images_with_one_id_the_first_in_a_stated_order_is_read(name, tmp_path, caplog):
    root = WRITERS[name](tmp_path, ".png")
    (folder,) = {post.image.parent for post in read_corpus(name, root).posts}
    write(folder, "2.jpg", "3.gif", "3.JPG")
    assert found(read_corpus(name, root)) == ["1.png", "2.jpg", "3.JPG"]
    (message,) = {record.getMessage() for record in caplog.records}
    assert "2 ids have more than one file, such as 2.jpg and 2.png" in message


def test_a_data_set_may_lie_in_a_folder_of_its_own(tmp_path, caplog):
    write_mvsa(tmp_path / "a/MVSA_Single", ".jpg")
    write(tmp_path, "a/__MACOSX/MVSA_Single/labelResultAll.txt", "a/readme.txt")
    write_hfm(tmp_path / "b/x/hfm", ".jpg", "image/dataset_image")
    for name, folder in {"mvsa-single": "a", "hfm": "b"}.items():
        with caplog.at_level(logging.INFO, "mvcn.data"):
            assert found(read_corpus(name, tmp_path / folder)) == [f"{one}.jpg" for one in IDS]
    told = [record.getMessage() for record in caplog.records]
    assert any("MVSA-Single" in one and str(tmp_path / "a/MVSA_Single") in one for one in told)
    assert any("images" in one and "dataset_image" in one for one in told)


def test_images_may_lie_in_a_folder_of_their_own(tmp_path):
    write(tmp_path / "archive", *(f"dataset_image/{one}.jpg" for one in IDS))
    for name in ("hfm", "clmlf-json"):
        root = WRITERS[name](tmp_path / name, ".jpg", "elsewhere")
        corpus = read_corpus(name, root, images=tmp_path / "archive")
        assert found(corpus) == [f"{one}.jpg" for one in IDS]
    root = write_hfm(tmp_path / "other", ".jpg", "dataset_image")
    assert found(read_corpus("hfm", root)) == [f"{one}.jpg" for one in IDS]


def test_one_of_two_data_sets_is_not_guessed(tmp_path):
    for name in ("first", "second"):
        write_mvsa(tmp_path / name, ".jpg")
    with pytest.raises(DataError, match=r"holds MVSA-Single in 2 folders, such as .*first"):
        read_corpus("mvsa-single", tmp_path)


def test_images_that_are_missing_are_reported(tmp_path, caplog):
    root = write_hfm(tmp_path, ".jpg")
    (root / "image/2.jpg").unlink()
    config = DataConfig(name="hfm", root=root)
    corpus = read_dataset(config, root)
    assert [post.image is not None for post in corpus.posts] == [True, False, True]
    assert corpus.missing_images == ("2",)
    (message,) = [record.getMessage() for record in caplog.records]
    assert "has no image for 1 of its 3 posts, such as 2" in message
    caplog.clear()
    (root / "image/1.jpg").unlink()
    read_dataset(config, root)
    told = [record.getMessage() for record in caplog.records]
    assert any("Only 1 of the 3 images" in one for one in told)


def test_a_data_set_without_any_of_its_images_is_refused_unless_texts_are_enough(tmp_path):
    root = write_hfm(tmp_path, ".jpg", "elsewhere")
    with pytest.raises(
        DataError, match=r"no image for any of its 3 posts.*--images FOLDER.*--text-only"
    ):
        read_dataset(DataConfig(name="hfm", root=root), root)
    corpus = read_dataset(DataConfig(name="hfm", root=root, text_only=True), root)
    assert [(post.text, post.image) for post in corpus.posts] == [("words", None)] * 3


@pytest.mark.parametrize("name", WRITERS)
def test_texts_alone_are_read_without_a_look_at_images(name, tmp_path, caplog):
    root = WRITERS[name](tmp_path, ".jpg")
    corpus = read_corpus(name, root)
    alone = read_dataset(DataConfig(name=name, root=root, text_only=True), root)
    assert [post.image for post in alone.posts] == [None] * 3
    assert [(p.id, p.text, p.label) for p in alone.posts] == [
        (p.id, p.text, p.label) for p in corpus.posts
    ]
    assert not caplog.records


def test_texts_alone_need_no_folder_of_images(tmp_path):
    root = write_clmlf(tmp_path, ".jpg", "elsewhere")
    with pytest.raises(DataError, match="--text-only"):
        read_corpus("clmlf-json", root)
    assert len(read_corpus("clmlf-json", root, text_only=True).posts) == 3


def test_few_images_of_a_table_are_reported(tmp_path, caplog):
    write(tmp_path, "1.jpg", "2.jpg")
    for count, is_told in {3: False, 4: False, 5: True}.items():
        rows = "".join(f"{number}.jpg,a\n" for number in range(1, count + 1))
        (tmp_path / "posts.csv").write_text(f"image,text\n{rows}")
        caplog.clear()
        read_dataset(DataConfig(), tmp_path / "posts.csv")
        told = [record.getMessage() for record in caplog.records]
        assert len(told) == is_told
        for message in told:
            assert f"Only 2 of the {count} images of {tmp_path / 'posts.csv'}" in message
            assert "--images FOLDER" in message


def test_web_addresses_are_not_looked_for_in_another_folder(tmp_path, caplog):
    write(tmp_path, "1.jpg")
    rows = "".join(f"https://example.org/{number}.jpg,a\n" for number in range(9))
    (tmp_path / "posts.csv").write_text(f"image,text\n1.jpg,a\n{rows}")
    corpus = read_dataset(DataConfig(), tmp_path / "posts.csv")
    assert not caplog.records
    assert "nothing is downloaded" in missing_images(corpus.posts)["2"]


def test_images_that_were_left_out_of_prepared_posts_are_reported(
    tmp_path, caplog, generated_posts
):
    (tmp_path / "1.png").write_bytes(generated_posts[0].image)
    (tmp_path / "posts.csv").write_text("image,text\n1.png,a\n2.png,b\n3.png,c\n")
    corpus = read_corpus("table", tmp_path / "posts.csv")
    prepare(corpus, tmp_path / "out", dataset="table", on_bad_image="blank")
    read_dataset(DataConfig(name="prepared"), tmp_path / "out")
    (message,) = [record.getMessage() for record in caplog.records]
    assert f"Only 1 of the 3 images of {tmp_path / 'out'} were found" in message


def test_a_folder_of_very_many_files_is_listed_once(tmp_path, monkeypatch):
    names = [f"{number}{suffix}" for number in range(50_000) for suffix in (".jpg", ".txt")]
    listed = []
    monkeypatch.setattr("os.listdir", lambda folder: listed.append(folder) or names)
    begin = time.thread_time()
    paths = {name: tmp_path / name for name in names}  # at least this has to be done
    made = time.thread_time()
    images, texts = files_by_id(tmp_path, IMAGE_SUFFIXES, (".txt",))
    took = time.thread_time() - made
    assert len(paths) == len(images) + len(texts) == 100_000
    assert listed == [tmp_path]
    assert took < 12 * (made - begin)  # comparing all pairs would take hundreds of times


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
    "pics/2822": "pics/2822.jpg",
    "pics\\A%20b": "pics/a b.JPG",
    "TOP": "top.png",
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


@pytest.mark.parametrize(
    "name",
    [
        "C:\\Users\\ann\\photos\\pics\\2822.jpg",
        "C:\\Users\\ann\\Pics\\2822.JPG",
        "D:/2021/pics/2822.jpg",
        "/home/ann/photos/pics/2822.jpg",
    ],
)
def test_a_path_of_another_machine_is_found_by_its_end(name, folder):
    assert ImageFolder(folder).path(name, "row 1") == folder / "pics/2822.jpg"


def test_an_image_that_is_elsewhere_is_not_taken_for_one_of_that_name(folder, tmp_path):
    (tmp_path / "top.png").write_bytes(b"another")
    with pytest.raises(BadImageError, match=r"is outside .*: pass the folder that holds all"):
        read_image(ImageFolder(folder).path(str(tmp_path / "top.png"), "row 1"))


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


@pytest.mark.parametrize(
    ("names", "given"),
    [
        (("B.png", "b.png"), "b.PNG"),
        (("b.jpg", "b.png"), "b"),
        (("Xy/b.png", "xY/b.png"), "XY\\b.png"),
        (("a b/c.png", "a%20b\\c.png"), "/a%20b\\c.png"),
        (("photos/b.png", "b.png"), "/PHOTOS/../photos\\b.PNG"),
    ],
)
def test_an_image_that_may_be_either_of_two_files_is_not_guessed(names, given, tmp_path):
    root = tmp_path / "photos"
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"content")
    with pytest.raises(BadImageError, match=r"^row 1: image .* may be (.+) or (.+) in ") as caught:
        read_image(ImageFolder(root).path(given, "row 1"))
    assert all(name in str(caught.value) for name in names)


def test_a_path_that_leads_nowhere_keeps_its_place(folder):
    for name in ("pics/9.jpg", "pics\\9.jpg", "data/9.jpg", "C:\\data\\9.jpg"):
        assert ImageFolder(folder).path(name, "row 1") == folder / name


def test_other_spellings_are_told_once(folder, caplog):
    (folder / "posts.csv").write_text("image\npics\\2822.jpg\ntop.PNG\ntop.png\n")
    with caplog.at_level(logging.INFO, "mvcn.data"):
        images = [post.image for post in read_table(folder / "posts.csv").posts]
    assert [image.name for image in images] == ["2822.jpg", "top.png", "top.png"]
    (message,) = [r.getMessage() for r in caplog.records if r.name == "mvcn.data.image_files"]
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


def test_a_file_next_to_the_folder_is_never_read(tmp_path):
    """All that can be made of a few pieces, where every wrong turn would find the file."""
    root = tmp_path / "data"
    (root / "data").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(b"secret")
    places = ImageFolder(root)
    pieces = ("..", "/", "\\", "%2e%2e", "data", "secret.png")
    for name in map("".join, itertools.product(pieces, repeat=4)):
        with pytest.raises(BadImageError):
            read_image(places.path(name, "row 1"))
