"""The same posts in every kind of file, files that are broken, and files of noise."""

import base64
import csv
import json
import os
import re
import sys
from io import BytesIO, StringIO

import openpyxl
import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvcn.data.image_files import ImageFolder
from mvcn.data.images import image_digest, read_image
from mvcn.data.synthetic import generate_posts
from mvcn.data.table import OPENERS, read_table
from mvcn.errors import BadImageError, ConfigError, DataError

COLUMNS = ("id", "text", "image", "label", "text_label", "image_label", "split")
SUFFIXES = tuple(OPENERS)


def as_delimited(rows, separator):
    stream = StringIO(newline="")
    writer = csv.DictWriter(stream, COLUMNS, delimiter=separator)
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue().encode()


def as_json_lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def as_parquet(rows):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink, row_group_size=2)
    return sink.getvalue().to_pybytes()


def as_excel(rows):
    book, stream = openpyxl.Workbook(), BytesIO()
    columns = list(dict.fromkeys(name for row in rows for name in row))
    for cells in (columns, *([row.get(name) for name in columns] for row in rows)):
        book.active.append(cells)
    book.save(stream)
    return stream.getvalue()


WRITERS = {
    ".csv": lambda rows: as_delimited(rows, ","),
    ".tsv": lambda rows: as_delimited(rows, "\t"),
    ".tab": lambda rows: as_delimited(rows, "\t"),
    ".txt": lambda rows: as_delimited(rows, ";"),
    ".jsonl": as_json_lines,
    ".ndjson": as_json_lines,
    ".json": lambda rows: json.dumps(rows).encode(),
    ".parquet": as_parquet,
    ".xlsx": as_excel,
}
DELIMITED = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".txt": ";"}


@pytest.fixture(scope="module")
def posts():
    return [generated.post for generated in generate_posts(5, seed=0)]


@pytest.fixture
def rows(posts, tmp_path):
    """Five rows with image files next to them; the last has none."""
    (tmp_path / "images").mkdir()
    made = []
    for number, post in enumerate(posts):
        name = f"images/{post.id}.png" if number < 4 else None
        if name:
            (tmp_path / name).write_bytes(post.image)
        split = ("train", "train", "valid", "TEST", "dev")[number]
        labels = (post.label, post.text_label, post.image_label, split)
        made.append(dict(zip(COLUMNS, (post.id, post.text, name, *labels), strict=True)))
    return made


def write(path, rows):
    path.write_bytes(WRITERS[path.suffix](rows))
    return path


def seen(corpus):
    """All of a corpus that does not depend on where its images are."""
    posts = [
        (p.id, p.text, p.label, p.text_label, p.image_label, p.split, p.attributes)
        for p in corpus.posts
    ]
    digests = [None if p.image is None else image_digest(p.image) for p in corpus.posts]
    return posts, digests, corpus.class_names


def test_every_kind_of_file_is_tried():
    assert tuple(WRITERS) == SUFFIXES


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_all_kinds_of_files_give_the_same_posts(suffix, rows, posts, tmp_path):
    corpus = read_table(write(tmp_path / f"posts{suffix}", rows))
    assert [p.text for p in corpus.posts] == [p.text for p in posts]
    assert [p.split for p in corpus.posts] == ["train", "train", "dev", "test", "dev"]
    assert corpus.posts[4].image is None
    assert seen(corpus) == seen(read_table(write(tmp_path / "other.csv", rows)))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_upper_case_suffixes_and_mapped_columns_are_understood(suffix, rows, tmp_path):
    theirs = {"id": "key", "text": "tweet", "image": "photo"}
    renamed = [{theirs.get(k, k): v for k, v in row.items()} for row in rows]
    path = tmp_path / f"posts{suffix.upper()}"
    if suffix in DELIMITED:
        stream = StringIO(newline="")
        writer = csv.DictWriter(stream, list(renamed[0]), delimiter=DELIMITED[suffix])
        writer.writeheader()
        writer.writerows(renamed)
        path.write_bytes(stream.getvalue().encode())
    else:
        path.write_bytes(WRITERS[suffix](renamed))
    expected = read_table(write(tmp_path / "plain.csv", rows))
    assert seen(read_table(path, columns=theirs)) == seen(expected)


def test_splits_choose_rows_and_not_classes(rows, tmp_path):
    path = write(tmp_path / "posts.csv", rows)
    whole, part = read_table(path), read_table(path, splits=["dev"])
    assert [p.id for p in part.posts] == [rows[2]["id"], rows[4]["id"]]
    assert part.class_names == whole.class_names


def encoded(content, prefix=""):
    return prefix + base64.b64encode(content).decode()


BASE64_KINDS = {
    "plain": encoded,
    "data URL": lambda content: encoded(content, "data:image/png;base64,"),
    "in lines": lambda content: base64.encodebytes(content).decode(),
    "URL-safe": lambda content: base64.urlsafe_b64encode(content).decode(),
    "URL-safe without padding": lambda c: base64.urlsafe_b64encode(c).decode().rstrip("="),
}


@pytest.mark.parametrize("suffix", [suffix for suffix in SUFFIXES if suffix != ".xlsx"])
@pytest.mark.parametrize("kind", BASE64_KINDS)
def test_images_can_be_base64_text(suffix, kind, rows, posts, tmp_path):
    encode = BASE64_KINDS[kind]
    inside = [
        row | {"image": row["image"] and encode(post.image)}
        for row, post in zip(rows, posts, strict=True)
    ]
    corpus = read_table(write(tmp_path / f"inside{suffix}", inside))
    assert seen(corpus) == seen(read_table(write(tmp_path / "posts.csv", rows)))


@pytest.mark.parametrize("nested", [True, False])
def test_images_can_be_bytes_in_parquet(nested, rows, posts, tmp_path):
    def cell(row, post):
        content = row["image"] and post.image
        return content and {"bytes": content, "path": "x.png"} if nested else content

    inside = [row | {"image": cell(row, p)} for row, p in zip(rows, posts, strict=True)]
    corpus = read_table(write(tmp_path / "inside.parquet", inside))
    assert seen(corpus) == seen(read_table(write(tmp_path / "posts.csv", rows)))
    assert not any(isinstance(p.image, bytes) for p in corpus.posts)  # read when needed


def test_numbers_are_labels_in_their_own_order(tmp_path):
    path = tmp_path / "posts.jsonl"
    path.write_text("".join(f'{{"text": "x", "label": {n}}}\n' for n in (10, 2, -1, "null")))
    assert read_table(path).class_names == ("-1", "2", "10")
    path.write_text('{"text": "x", "label": true}\n{"text": "x", "label": false}\n')
    assert read_table(path).class_names == ("false", "true")


def test_attributes_are_words(tmp_path):
    (tmp_path / "a.csv").write_text("text,attributes\nx,sea  sky\ny,\n")
    (tmp_path / "a.jsonl").write_text('{"text":"x","attributes":["sea","sky"]}\n{"text":"y"}\n')
    found = [[p.attributes for p in read_table(tmp_path / n).posts] for n in ("a.csv", "a.jsonl")]
    assert found == [[("sea", "sky"), ()]] * 2


ROW = {"id": "1", "text": "a", "label": "x"}
BROKEN_ROWS = {
    "twice": ([ROW, ROW], r"row 2.*id '1' has already appeared \(.*row 1"),
    "other case": (
        [ROW, {**ROW, "id": "2", "label": "X"}],
        r"row 2.*'X' differs from 'x' \(.*row 1",
    ),
    "blanks": (
        [{**ROW, "label": "a b"}, {**ROW, "id": "2", "label": "a  b"}],
        "differs from 'a b'",
    ),
    "empty id": ([{**ROW, "id": " "}], r"row 1.*'id' is empty"),
    "neither": ([{"id": "1", "label": "x"}], "neither a column 'text' nor 'image'"),
}


def write_rows(folder, suffix, rows):
    """Write rows with just the columns that they have."""
    if suffix in DELIMITED:
        stream = StringIO(newline="")
        writer = csv.DictWriter(stream, list(rows[0]), delimiter=DELIMITED[suffix])
        writer.writeheader()
        writer.writerows(rows)
        content = stream.getvalue().encode()
    else:
        content = WRITERS[suffix](rows)
    (folder / f"posts{suffix}").write_bytes(content)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("fault", BROKEN_ROWS)
def test_a_broken_row_is_named(suffix, fault, tmp_path):
    rows, message = BROKEN_ROWS[fault]
    write_rows(tmp_path, suffix, rows)
    with pytest.raises(DataError, match=message) as error:
        read_table(tmp_path / f"posts{suffix}")
    assert f"posts{suffix}" in str(error.value)
    assert "\n" not in str(error.value)


NO_LISTS = {
    "rows within": (
        lambda frame: json.dumps({"data": frame.to_dict("records")}, indent=1),
        "'data'",
    ),
    "columns": (lambda frame: frame.to_json(), "one object, and not a list of rows"),
    "columns over lines": (lambda frame: frame.to_json(indent=1), "orient='records'"),
    "split": (lambda frame: frame.to_json(orient="split"), "orient='records'"),
    "index": (lambda frame: frame.to_json(orient="index"), "orient='records'"),
}


@pytest.mark.parametrize("layout", NO_LISTS)
def test_json_that_is_no_list_of_rows_is_told(layout, tmp_path):
    write, message = NO_LISTS[layout]
    (tmp_path / "posts.json").write_text(write(pandas.DataFrame([ROW, {**ROW, "id": "2"}])))
    with pytest.raises(DataError, match=message):
        read_table(tmp_path / "posts.json")


def test_a_single_json_object_is_a_row(tmp_path):
    (tmp_path / "posts.json").write_text(json.dumps({"text": "a", "label": "x"}))
    assert [post.text for post in read_table(tmp_path / "posts.json").posts] == ["a"]


@pytest.mark.parametrize(
    ("name", "remedy"), [("a.csv.gz", "unpack"), ("a.xls", "save it as .xlsx")]
)
def test_a_format_that_is_not_read_is_told_with_its_remedy(name, remedy, tmp_path):
    with pytest.raises(DataError, match=f"not a table of a supported format: {remedy}"):
        read_table(tmp_path / name)


BAD_IMAGES = {
    "../x.png": r"row 1.*is outside .*--images",
    "/etc/passwd": r"row 1.*is outside .*--images",
    "https://a.b/c.png": r"row 1.*is a web address.*img2dataset.*--data webdataset",
    "HTTP://a.b/c.png": r"row 1.*is a web address",
    "data:image/png;base64,a?b": r"row 1.*not valid base64",
    "x" * 5000: r"row 1.*is neither a path nor an image",
}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("cell", BAD_IMAGES)
def test_a_cell_that_is_no_image_is_a_bad_image_of_its_post_alone(suffix, cell, tmp_path):
    write_rows(tmp_path, suffix, [{**ROW, "image": cell}, {**ROW, "id": "2", "image": "b.png"}])
    (tmp_path / "b.png").write_bytes(b"content")
    bad, good = read_table(tmp_path / f"posts{suffix}").posts
    with pytest.raises(BadImageError, match=BAD_IMAGES[cell]) as error:
        read_image(bad.image)
    assert f"posts{suffix}" in str(error.value)
    assert "\n" not in str(error.value)
    assert read_image(good.image) == b"content"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_pipe_or_folder_in_place_of_a_file_is_refused(suffix, tmp_path):
    os.mkfifo(tmp_path / f"pipe{suffix}")
    (tmp_path / f"folder{suffix}").mkdir()
    for name in ("pipe", "folder", "nothing"):
        with pytest.raises(DataError, match=f"{name}{suffix} cannot be read"):
            read_table(tmp_path / f"{name}{suffix}")


def test_an_unknown_kind_of_file_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(DataError, match=re.escape(", ".join(SUFFIXES))):
        read_table(tmp_path / "posts.ods")


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        (
            {"tekst": "tweet"},
            ConfigError,
            "'tekst' cannot be mapped to a column: did you mean 'text'",
        ),
        ({"text": "a", "image": "a"}, ConfigError, "Two names are mapped to the column 'a'"),
        ({"text": "tweat"}, DataError, "no column 'tweat' for 'text': did you mean 'tweet'"),
    ],
)
def test_columns_that_cannot_be_mapped(columns, error, message, tmp_path):
    (tmp_path / "a.csv").write_text("tweet,label\na,b\n")
    with pytest.raises(error, match=message):
        read_table(tmp_path / "a.csv", columns=columns)


def test_links_are_followed_and_paths_stay_inside(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (root / "deep", outside):
        folder.mkdir(parents=True)
        (folder / "a.png").write_bytes(folder.name.encode())
    (root / "inner.png").symlink_to(root / "deep" / "a.png")
    (root / "outer.png").symlink_to(outside / "a.png")
    (root / "folder").symlink_to(outside)
    (root / "loop").symlink_to(root / "loop")
    (root / "broken.png").symlink_to(root / "gone")
    folder = ImageFolder(root)
    content = {"inner.png": b"deep", "outer.png": b"outside", "folder/a.png": b"outside"}
    for name, expected in (content | {"folder/../deep/a.png": b"deep"}).items():
        assert read_image(folder.path(name, "here")) == expected
    assert folder.path("not/there.png", "here") == root / "not/there.png"
    assert folder.path(str(root / "deep/a.png"), "here") == root / "deep/a.png"
    for name in ("..", "deep/../../x", "folder/../../outside/a.png", str(outside / "a.png")):
        with pytest.raises(BadImageError, match=r"here: .* is outside"):
            read_image(folder.path(name, "here"))
    for name in ("a\0b", "x" * 300 + "/" + "y" * 4000):
        with pytest.raises(BadImageError, match=r"here: .* is neither a path nor an image"):
            read_image(folder.path(name, "here"))
    for name in ("loop", "loop/a.png", "broken.png"):
        with pytest.raises(BadImageError, match="cannot be opened"):
            read_image(folder.path(name, "here"))


OPENED: list[str] = []
IS_WATCHED = [False]


def _note(event, arguments):
    if IS_WATCHED[0] and event == "open" and isinstance(arguments[0], str):
        OPENED.append(arguments[0])


sys.addaudithook(_note)


def read_noise(path, content):
    """Read a file of noise: an error is a sentence, and nothing outside of its folder is opened."""
    path.write_bytes(content)
    OPENED.clear()
    IS_WATCHED[0] = True
    try:
        corpus = read_table(path)
    except DataError as error:
        outcome = str(error)
    else:
        outcome = f"{path}: {len(corpus.posts)} posts"
    finally:
        IS_WATCHED[0] = False
    assert str(path) in outcome
    own = (str(path.parent), sys.prefix, sys.base_prefix)
    assert [name for name in OPENED if not name.startswith(own)] == []


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    return tmp_path_factory.mktemp("noise")


@pytest.fixture(scope="module")
def valid():
    rows = [
        {"id": str(n), "text": "ab c", "image": f"{n}.png", "label": "xy"[n % 2], "split": "dev"}
        for n in range(3)
    ]
    csv_text = "id,text,image,label\n" + "".join(f"{n},ab c,{n}.png,x\n" for n in range(3))
    return {
        ".csv": csv_text.encode(),
        ".tsv": csv_text.replace(",", "\t").encode(),
        ".tab": csv_text.replace(",", "\t").encode("utf-16"),
        ".txt": csv_text.replace(",", ";").encode(),
        ".jsonl": as_json_lines(rows),
        ".ndjson": as_json_lines(rows),
        ".json": json.dumps(rows).encode(),
        ".parquet": as_parquet(rows),
        ".xlsx": as_excel(rows),
    }


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(content=st.binary(max_size=60))
def test_noise_is_read_or_refused(noisy, suffix, content):
    read_noise(noisy / f"noise{suffix}", content)


edits = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4)


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(edits=edits, end=st.floats(0.3, 1))
def test_files_with_some_bytes_changed_or_cut_off_are_read_or_refused(
    noisy, valid, suffix, edits, end
):
    content = bytearray(valid[suffix])
    for position, value in edits:
        content[int(position * len(content))] = value
    read_noise(noisy / f"edited{suffix}", bytes(content[: round(end * len(content))]))
