"""Tables of a user's own posts: what is read, and what each kind of bad table is told."""

import csv

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mvcn.data.formats.rows import MAX_CELL_CHARACTERS, NOT_A_LABEL
from mvcn.data.table import read_table
from mvcn.errors import DataError
from mvcn.types import Corpus, Post


@pytest.fixture
def read(tmp_path):
    """Write a table from text or bytes, and read it."""

    def write_and_read(content):
        path = tmp_path / "posts.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_table(path)

    return write_and_read


def test_reads_every_column(read, tmp_path):
    corpus = read(
        "id,text,image,label,text_label,image_label,likes\n"
        'a,"So, what?\nYes ""you""",pics/a.jpg, sad ,happy,,3\n'
        "b,,,happy,happy,sad,\n"
    )
    assert corpus.posts == [
        Post("a", 'So, what?\nYes "you"', tmp_path / "pics" / "a.jpg", "sad", "happy", None),
        Post("b", "", None, "happy", "happy", "sad"),
    ]
    assert corpus.class_names == ("happy", "sad")
    assert corpus.removed == {}


def test_equal_labels_are_one_string(read):
    first, second = read("text,label\na,fairly happy\nb,fairly happy\n").posts
    assert first.label is second.label


def test_reads_texts_to_predict_for(read):
    corpus = read("text\nfirst\nsecond\n")
    assert corpus.posts == [Post("1", "first", None), Post("2", "second", None)]
    assert corpus.class_names == ()


def test_reads_images_alone_and_keeps_absolute_paths(read, tmp_path):
    absolute = tmp_path / "elsewhere" / "b.png"
    corpus = read(f"image\na.png\n{absolute}\n")
    assert [post.image for post in corpus.posts] == [tmp_path / "a.png", absolute]
    assert [post.text for post in corpus.posts] == ["", ""]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_accepts_every_line_end_empty_lines_and_a_missing_last_one(read, line_end):
    corpus = read(line_end.join(["text,label", "a,x", "", "b,y"]))
    assert [(post.id, post.text, post.label) for post in corpus.posts] == [
        ("1", "a", "x"),
        ("2", "b", "y"),
    ]


def test_accepts_a_byte_order_mark_and_other_alphabets(read):
    assert read("\ufefftext\ngrüße 你好\n".encode()).posts[0].text == "grüße 你好"


def test_a_row_number_counts_rows_not_lines(read):
    with pytest.raises(DataError, match=r"posts\.csv, row 3 \(line 6\): 'id' is empty"):
        read('text,id\n"two\nlines",x\n\nb,y\nc, \n')


def test_reads_a_text_longer_than_the_csv_module_allows_and_restores_its_limit(read):
    usual = csv.field_size_limit()
    assert len(read(f"text\n{'x' * (usual + 1)}\n").posts[0].text) == usual + 1
    assert csv.field_size_limit() == usual


BAD_TABLES = {
    "empty file": ("", "is empty: it needs a header"),
    "only blank lines": ("\n\n", "is empty: it needs a header"),
    "no rows": ("id,text,label\n", "has no rows below its header"),
    "neither text nor image": ("id,label\n1,x\n", "neither a column 'text' nor 'image'"),
    "duplicate column": ("text,label,text\na,x,b\n", "has the column 'text' twice"),
    "duplicate id": ("id,text\n7,a\n8,b\n7,c\n", r"row 3 \(line 4\): id '7' has already appeared"),
    "empty id": ("id,text\n,a\n", r"row 1 \(line 2\): 'id' is empty"),
    "too many cells": ("text,label\na,x\nb,c,y\n", r"row 2 \(line 3\) has 3 cells, but"),
    "too few cells": ("text,label\na\n", r"row 1 \(line 2\) has 1 cell, but the header has 2"),
    "NUL": (b"text\na\nb\0c\n", "line 3 contains a NUL byte"),
    "text misspelt": ("textt,image\na,b.png\n", "add --columns text=textt"),
    "image misspelt": ("text,imagge\na,b.png\n", "no column 'image', but one called 'imagge'"),
    "open quote": ('text,label\n"b\nc,x,y\nd,z\n', r"row 1 \(line 2\) is not valid CSV"),
    "text after a quote": ('text,label\n"b"c\n,x\n', r"row 1 \(line 2\) is not valid CSV"),
    "label misspelt": ("text,lable\na,x\n", "no column 'label', but one called 'lable'"),
    "label of a data frame": ("text,label\na,x\nb,nan\n", r"row 2 \(line 3\): 'label' is 'nan'"),
    "label of two lines": ('text,label\na,"x\ny"\n', r"row 1 .*has hidden characters, or several"),
    "label that cannot be seen": ("text,label\na,\u200b\n", r"row 1 .*hidden characters"),
    "label with a hidden end": ("text,label\na,x\u200b\n", r"row 1 .*hidden characters"),
    "a novel for a label": (
        f"text,label\na,{'x' * 201}\n",
        r"row 1 .*is too long, so it cannot be a class name",
    ),
    "Latin-1": ("text\nok\ncafé\n".encode("latin-1"), r"line 3: byte 11 \(0xe9\) is not UTF-8"),
    "several bad rows": ("text,label\na,nan\nb,x\nc,nan\n", r"has 2 bad rows:"),
    "huge cell": (
        f"text\na\n{'x' * (MAX_CELL_CHARACTERS + 1)}\n",
        r"row 2 \(line 3\) is not valid",
    ),
}


@pytest.mark.parametrize("kind", BAD_TABLES)
def test_says_what_is_wrong_and_where(read, tmp_path, kind):
    content, message = BAD_TABLES[kind]
    with pytest.raises(DataError, match=message) as error:
        read(content)
    assert str(tmp_path / "posts.csv") in str(error.value)
    assert ("\n" in str(error.value)) == (kind == "several bad rows")


@pytest.mark.parametrize("name", ["missing.csv", "folder.csv"])
def test_a_table_that_cannot_be_read(tmp_path, name):
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match="cannot be read"):
        read_table(tmp_path / name)


def read_or_refuse(path, content):
    path.write_bytes(content)
    try:
        return read_table(path)
    except DataError:
        return None


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "posts.csv"


@given(content=st.binary(max_size=200))
def test_random_bytes_are_read_or_refused(fuzzed, content):
    read_or_refuse(fuzzed, content)


@given(rows=st.binary(max_size=80), columns=st.permutations(["id", "text", "image", "label"]))
def test_random_rows_below_a_header_are_read_or_refused(fuzzed, rows, columns):
    corpus = read_or_refuse(fuzzed, ",".join(columns).encode() + b"\n" + rows)
    assert corpus is None or isinstance(corpus, Corpus)


cells = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)


@example(rows=[["0", "", "", "null"]])
@given(rows=st.lists(st.lists(cells, min_size=4, max_size=4), min_size=1, max_size=6))
def test_rows_of_random_cells_are_read_as_written_or_refused(fuzzed, rows):
    with fuzzed.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([["id", "text", "image", "label"], *rows])
    corpus = read_or_refuse(fuzzed, fuzzed.read_bytes())
    if corpus is None:
        stripped = [(row[0].strip(), row[2].strip(), row[3].strip()) for row in rows]
        assert (
            len({row[0] for row in stripped}) < len(rows)
            or any(not row[0] or not row[2] for row in stripped)
            or any("://" in row[1] for row in stripped)
            or not all(row[2].isprintable() for row in stripped)
            or any(row[2] in NOT_A_LABEL for row in stripped)
            or len({" ".join(row[2].split()).casefold() for row in stripped})
            < len({row[2] for row in stripped})
        )
        return
    assert [post.text for post in corpus.posts] == [row[1] for row in rows]
    assert [post.label or "" for post in corpus.posts] == [row[3].strip() for row in rows]
