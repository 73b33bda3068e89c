"""Labels and ids that mean the same are the same, however programs have written them."""

import json
import logging
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mvcn.data.formats.rows import TableOptions
from mvcn.data.table import read_table
from mvcn.errors import DataError


def write(path, column, cells):
    texts = [f"text {number}" for number in range(len(cells))]
    rows = [{"text": text, column: cell} for text, cell in zip(texts, cells, strict=True)]
    if path.suffix == ".csv":
        path.write_text(
            "".join(f"{r['text']},{r[column]}\n" for r in [{"text": "text", column: column}, *rows])
        )
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.table({"text": texts, column: cells}), path)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("column", ["label", "id"])
def test_whole_numbers_are_written_without_a_fraction(suffix, column, tmp_path):
    floats = read_table(write(tmp_path / f"a{suffix}", column, [0.0, 1.0, -12.0]))
    whole = read_table(write(tmp_path / f"b{suffix}", column, [0, 1, -12]))
    assert [getattr(post, column) for post in floats.posts] == ["0", "1", "-12"]
    assert floats.posts == whole.posts
    assert floats.class_names == whole.class_names


def test_one_column_may_have_both_forms(tmp_path):
    assert read_table(write(tmp_path / "a.csv", "label", ["1", "1.0", "2"])).class_names == (
        "1",
        "2",
    )


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_missing_number_is_a_missing_label(suffix, tmp_path):
    corpus = read_table(write(tmp_path / f"a{suffix}", "label", [1.0, float("nan")]))
    assert [post.label for post in corpus.posts] == ["1", None]


def test_decimals_are_numbers(tmp_path):
    path = write(tmp_path / "a.parquet", "label", [Decimal("1.00"), Decimal("2.00")])
    assert read_table(path).class_names == ("1", "2")


@pytest.mark.parametrize("cell", [0.5, float("inf")])
def test_other_numbers_are_no_labels(cell, tmp_path):
    with pytest.raises(DataError, match="'label' is a number with a fraction"):
        read_table(write(tmp_path / "a.parquet", "label", [1.0, cell]))


def test_an_id_that_has_lost_digits_is_refused(tmp_path):
    with pytest.raises(DataError, match="a number that has lost digits: store ids as text"):
        read_table(write(tmp_path / "a.parquet", "id", [1.2345678901234567e18]))


@pytest.mark.parametrize("labels", [["positive", "POSITIVE "], ["so so", "so  so"]])
def test_labels_that_differ_in_case_or_whitespace_are_asked_for_and_joined(labels, tmp_path):
    path = write(tmp_path / "a.csv", "label", labels)
    with pytest.raises(DataError, match="merge them with --normalize-labels"):
        read_table(path)
    corpus = read_table(path, options=TableOptions(normalize_labels=True))
    assert len(corpus.class_names) == 1
    assert corpus.class_names[0] == " ".join(labels[0].split()).lower()


def test_lone_surrogates_are_replaced_and_counted(tmp_path, caplog):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a \\ud83d", "user": "\\ud83d"}\n{"text": "\\ud83d\\ude00"}\n')
    caplog.set_level(logging.WARNING)
    assert [post.text for post in read_table(path).posts] == ["a \ufffd", "\N{GRINNING FACE}"]
    (line,) = [record.message for record in caplog.records]
    assert "1 cell holds half a surrogate pair" in line
    assert "row 1" in line


PREDICTED = {
    "data frame": "id,text,label\n1,a,nan\n",
    "case": "id,text,label\n1,a,Positive\n2,b,positive\n",
    "notes": 'id,text,label\n1,a,"two\nlines"\n',
    "part": "id,text,split\n1,a,unlabeled\n",
    "annotation": "id,text,text_label\n1,a,nan\n",
}


@pytest.mark.parametrize("kind", PREDICTED)
def test_prediction_reads_no_labels_annotations_and_parts(kind, tmp_path):
    (tmp_path / "a.csv").write_text(PREDICTED[kind])
    corpus = read_table(tmp_path / "a.csv", options=TableOptions(reads_labels=False))
    post = corpus.posts[0]
    assert (post.text, post.label, post.text_label, post.split) == ("a", None, None, None)


def test_bad_rows_are_named_together(tmp_path):
    path = write(tmp_path / "a.csv", "label", ["nan"] * 12 + ["x"])
    with pytest.raises(DataError) as error:
        read_table(path)
    lines = str(error.value).splitlines()
    assert lines[0].endswith("has 12 bad rows:")
    assert len(lines) == 1 + 10 + 1
    assert lines[-1].strip() == "and 2 more rows."


@pytest.mark.parametrize("cell", ["NA", "N/A", "null", "\\N", "#N/A", "<NA>", "NaT"])
def test_what_programs_write_for_nothing_is_no_class(cell, tmp_path):
    with pytest.raises(
        DataError, match="which usually stands for a missing value: leave the cell empty"
    ):
        read_table(write(tmp_path / "a.csv", "label", ["x", cell]))


def test_a_class_may_be_called_none(tmp_path):
    path = write(tmp_path / "a.csv", "label", ["FAVOR", "NONE", "None "])
    assert read_table(path, options=TableOptions(normalize_labels=True)).class_names == (
        "favor",
        "none",
    )


@pytest.mark.parametrize("cell", ["1.23457E+18", "1,23457E+18", "1.2345678901234568e+18"])
def test_a_text_of_an_id_that_has_lost_digits_is_refused(cell, tmp_path):
    (tmp_path / "a.csv").write_text(f"id;text\n{cell};a\n")
    with pytest.raises(DataError, match="a number that has lost digits"):
        read_table(tmp_path / "a.csv")


def test_forms_of_one_unicode_text_are_one_class(tmp_path):
    path = write(tmp_path / "a.csv", "label", ["caf\u00e9", "cafe\u0301"])
    assert read_table(path).class_names == ("caf\u00e9",)
