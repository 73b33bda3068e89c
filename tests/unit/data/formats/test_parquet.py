"""Rows of Parquet files become posts as in a table; a bad row is named and alone."""

import base64

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mvcn.data.formats import parquet
from mvcn.data.formats.parquet import ParquetRows
from mvcn.data.formats.posts import columns_of_posts
from mvcn.data.image_files import ImageFolder
from mvcn.data.images import read_image
from mvcn.data.stored_files import find_row_files
from mvcn.data.table import read_table
from mvcn.errors import BadImageError, DataError


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch):
    monkeypatch.setattr(parquet, "ROWS_AT_ONCE", 4)


@pytest.fixture
def read(tmp_path):
    def write_and_read(columns, names=None, row_groups=None, first_row=1, kept=(), size=3):
        path = tmp_path / "posts.parquet"
        pq.write_table(pa.table(columns), path, row_group_size=size, write_page_checksum=True)
        (file,) = find_row_files([str(path)])
        groups = range(pq.read_metadata(path).num_row_groups) if row_groups is None else row_groups
        place = ImageFolder(tmp_path)
        rows = ParquetRows(file)
        found = columns_of_posts(rows, file.path, names or {}, {})
        return list(rows.batches(groups, first_row, found, kept, place))

    return write_and_read


def posts_of(batches):
    return [post for batch in batches for post in batch.posts]


def test_posts_are_those_that_the_table_reader_gives(read, tmp_path, generated_posts):
    posts = generated_posts[:10]
    (tmp_path / "a.png").write_bytes(posts[0].image)
    images = {
        "bytes": [post.image for post in posts],
        "struct": [{"bytes": post.image, "path": None} for post in posts],
        "base64": [base64.b64encode(post.image).decode() for post in posts],
        "path": ["a.png"] * 9 + [None],
    }
    for kind, column in images.items():
        columns = {"id": [p.id for p in posts], "text": [p.text for p in posts], "photo": column}
        ours = posts_of(read(columns, {"image": "photo"}))
        theirs = read_table(tmp_path / "posts.parquet", columns={"image": "photo"}).posts
        assert [post.text for post in ours] == [post.text for post in theirs]
        assert [content(post) for post in ours] == [content(post) for post in theirs], kind


def content(post):
    return None if post.image is None else read_image(post.image)


def test_rows_are_numbered_within_the_file_and_ids_need_not_be_unique(read):
    columns = {"id": [7, 7, None, 8, 9, 9], "text": list("abcdef"), "user": list("uvwxyz")}
    batches = read(columns, row_groups=[1], first_row=4, kept=["user"])
    assert [(b.first_row, *b.ids, *b.rows.column("user").to_pylist()) for b in batches] == [
        (4, "8", "9", "9", "x", "y", "z")
    ]
    assert [post.id for post in posts_of(batches)] == ["4", "5", "6"]
    assert [b.ids for b in read({"text": ["a", "b"]})] == [["1", "2"]]


def test_a_bad_row_is_named_and_alone(read, tmp_path):
    text = pa.Array.from_buffers(
        pa.string(),
        3,
        [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0"), pa.py_buffer(b"a\xffc")],
    )
    good, garbled, lost = posts_of(read({"id": ["x", "y", None], "text": text}))
    assert good.text == "a"
    assert "posts.parquet, row 2: 'text' cannot be read" in str(garbled)
    assert "posts.parquet, row 3: 'id' is empty" in str(lost)
    with pytest.raises(DataError, match=r"2 bad rows:\n.*row 2: 'text' .*\n.*row 3: 'id'"):
        read_table(tmp_path / "posts.parquet")


@pytest.mark.parametrize(
    ("cell", "message"),
    [("http://a/b.png", "is a web address"), ("../b.png", "is outside"), (1.5, "is a number")],
)
def test_a_bad_image_cell_is_that_of_one_row(read, cell, message):
    bad, good = posts_of(read({"image": [cell, None], "text": ["a", "b"]}))
    with pytest.raises(BadImageError, match=rf"posts\.parquet, row 1: .*{message}"):
        read_image(bad.image)
    assert good.text == "b"


def test_large_row_groups_are_read_a_few_rows_at_a_time(read):
    columns = {"text": ["a"] * 9, "image": [b"x" * 100] * 9, "huge": [b"y"] * 9}
    batches = read(columns, size=9)
    assert [len(batch.rows) for batch in batches] == [4, 4, 1]
    assert batches[0].rows.schema.names == ["text", "image"]


def test_damage_in_the_middle_names_the_file(read, tmp_path):
    columns = {"text": [str(i) * 50 for i in range(100)]}
    read(columns, size=10)
    path = tmp_path / "posts.parquet"
    content = bytearray(path.read_bytes())
    content[500:560] = b"\xff" * 60
    path.write_bytes(content)
    (file,) = find_row_files([str(path)])
    place, names = ImageFolder(tmp_path), {"text": "text"}
    with pytest.raises(DataError, match=r"posts\.parquet cannot be read as Parquet"):
        list(ParquetRows(file).batches(range(10), 1, names, (), place))


def test_damaged_parquet_is_one_sentence(tmp_path):
    pq.write_table(pa.table({"text": ["a", "b"], "label": ["x", "y"]}), tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    for name, content in {"half": whole[: len(whole) // 2], "none": b"", "other": b"PAR1"}.items():
        path = tmp_path / f"{name}.parquet"
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"{name}.parquet cannot be read as Parquet"):
            read_table(path)
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "empty.parquet")
    with pytest.raises(DataError, match="has no rows"):
        read_table(tmp_path / "empty.parquet")


def test_bytes_win_over_a_path_in_parquet_and_either_may_be_missing(tmp_path, generated_posts):
    png = generated_posts[0].image
    cells = [
        {"bytes": png, "path": "a.png"},
        {"bytes": None, "path": "b.png"},
        {"bytes": None, "path": None},
        None,
    ]
    pq.write_table(pa.table({"photo": cells}), tmp_path / "a.parquet", row_group_size=2)
    posts = read_table(tmp_path / "a.parquet", columns={"image": "photo"}).posts
    assert read_image(posts[0].image) == png
    assert [p.image for p in posts[1:]] == [tmp_path / "b.png", None, None]


def test_parquet_text_as_bytes_is_refused_and_other_columns_are_not_read(tmp_path):
    far = pa.array([2**40], pa.timestamp("s"))  # beyond what Python can express
    pq.write_table(pa.table({"text": ["a"], "when": far}), tmp_path / "a.parquet")
    assert read_table(tmp_path / "a.parquet").posts[0].text == "a"
    pq.write_table(pa.table({"text": [b"a"]}), tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"row 1: 'text' is bytes"):
        read_table(tmp_path / "b.parquet")
