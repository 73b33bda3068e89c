"""Parquet files are found by folder, glob and address, each once, on any file system."""

from pathlib import Path

import pytest
from pyarrow.fs import FSSpecHandler, PyFileSystem

from mvcn.data.image_files import StoredImageFolder
from mvcn.data.stored_files import find_row_files
from mvcn.errors import BadImageError, DataError

TREE = (
    *("a.parquet", "b.parquet", "b.csv", "x/c.parquet", "x/y/d.parquet", "x/y/[e].parquet"),
    *("_SUCCESS", ".b.parquet", "_temporary/f.parquet", "x/.hidden/g.parquet"),
)


@pytest.fixture
def tree(tmp_path):
    for name in TREE:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"1234")
    return tmp_path


def found(*places):
    return [file.path for file in find_row_files([str(place) for place in places])]


def test_a_folder_gives_all_that_is_below_it_but_what_engines_hide(tree):
    names = ["a.parquet", "b.parquet", "x/c.parquet", "x/y/[e].parquet", "x/y/d.parquet"]
    files = find_row_files([str(tree)])
    assert [file.name for file in files] == names
    assert {file.size_bytes for file in files} == {4}


@pytest.mark.parametrize("glob", ["*.parquet", "x/*.parquet", "x/*/d.p?rquet", "**/[a-d].parquet"])
def test_globs_give_what_pathlib_gives(tree, glob):
    hidden = {part for name in TREE for part in Path(name).parts if part.startswith((".", "_"))}
    expected = [path for path in tree.glob(glob) if not hidden & set(path.relative_to(tree).parts)]
    assert found(tree / glob) == sorted(map(str, expected))


def test_a_file_is_named_by_itself_though_its_name_looks_like_a_glob(tree):
    assert found(tree / "x/y/[e].parquet") == [str(tree / "x/y/[e].parquet")]
    assert found(tree / "b.csv") == [str(tree / "b.csv")]


def test_places_that_overlap_give_each_file_once(tree):
    assert found(tree / "x", tree / "x/c.parquet", tree / "**/*.parquet") == found(tree)


def test_an_address_of_this_machine_is_a_path(tree, monkeypatch):
    assert found(f"file://{tree}/x") == found(tree / "x")
    monkeypatch.chdir(tree)
    assert found("x/../a.parquet") == [str(tree / "a.parquet")]


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("nowhere", "does not exist: use a Parquet or tar file"),
        ("x/*.csv", "no Parquet or tar file in"),
        ("_temporary/nothing", "does not exist"),
        ("s4://bucket/x", "is not a valid address"),
        ("/dev/null", "is a device or a pipe"),
    ],
)
def test_what_cannot_be_found_is_named(tree, monkeypatch, place, message):
    monkeypatch.chdir(tree)
    with pytest.raises(DataError, match=message) as caught:
        found(place)
    assert place in str(caught.value)


def test_two_file_systems_are_two_jobs(tree):
    with pytest.raises(DataError, match="are on different file systems"):
        found(tree / "x", "mock:///posts")


def test_images_next_to_files_of_another_file_system_stay_in_their_folder(tree):
    place = StoredImageFolder(_in_memory({"posts/images/a.png": b"abc"}), "posts")
    image = place.path("images/../images/a.png", "row 1")
    assert image.read() == b"abc"
    assert {image: 1}[place.path("images/a.png", "row 2")] == 1
    with pytest.raises(BadImageError, match=r"posts/b\.png cannot be read"):
        place.path("b.png", "row 3").read()
    for outside in ("../a.png", "/etc/passwd", "images/../../b", ".", ""):
        with pytest.raises(BadImageError, match=r"row 4: image .* is outside posts"):
            place.path(outside, "row 4").read()
    for spelling in ("images\\a.png", "/images/a.png", "posts/images/a.png", "images%2Fa.png"):
        assert place.path(spelling, "row 5").read() == b"abc"


def _in_memory(contents):
    fsspec = pytest.importorskip("fsspec")
    store = fsspec.filesystem("memory")
    for path, content in contents.items():
        store.pipe(f"/{path}", content)
    return PyFileSystem(FSSpecHandler(store))
