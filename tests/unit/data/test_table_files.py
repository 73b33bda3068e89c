"""Tables written in every format, read back by another program's reader."""

import base64
import csv
import json
import math
import os
import re
import stat
import subprocess
import sys

import openpyxl
import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvcn.data.formats import excel, parquet
from mvcn.data.table import (
    WRITERS,
    read_column_names,
    read_table,
    require_writable_table,
    table_writer,
)
from mvcn.errors import ConfigError, DataError, how_to_install

SUFFIXES = tuple(WRITERS)
each_format = pytest.mark.parametrize("suffix", SUFFIXES)
# What every format holds as it is: no NUL, no half characters, no line break but \n.
PLAIN = st.text(
    st.one_of(
        st.sampled_from("\n\t\"',;|= \u00e4\u2028\U0001f600"),
        st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"),
    ),
    max_size=12,
)
CELLS = {
    "text": PLAIN,
    "whole": st.integers(-(10**15) + 1, 10**15 - 1),
    "fraction": st.floats(allow_nan=False, allow_infinity=False),
    "flag": st.booleans(),
    "none": st.none(),
}
ROWS = st.lists(st.tuples(*(st.none() | cells for cells in CELLS.values())), min_size=0, max_size=6)


def write(path, rows, columns=tuple(CELLS)):
    with table_writer(path, columns) as write_row:
        for row in rows:
            write_row(row)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tables")


def text_of(cell):
    """An independent statement of what CSV holds of a cell."""
    if cell is None:
        return ""
    return {True: "true", False: "false"}[cell] if isinstance(cell, bool) else str(cell)


@pytest.mark.parametrize(("suffix", "separator"), [(".csv", ","), (".tsv", "\t")])
@given(rows=ROWS)
def test_delimited_tables_read_back_by_the_csv_module(folder, suffix, separator, rows):
    path = write(folder / f"out{suffix}", rows)
    with path.open(newline="", encoding="utf-8") as file:
        header, *found = csv.reader(file, delimiter=separator, strict=True)
    assert header == list(CELLS)
    assert found == [list(map(text_of, row)) for row in rows]
    assert [float(row[2]) for row in found if row[2]] == [row[2] for row in rows if row[2] != None]  # noqa: E711


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
@given(texts=st.lists(PLAIN, min_size=1, max_size=5))
def test_our_own_reader_reads_back_the_same_texts(folder, suffix, texts):
    rows = [[str(number), text, "x"] for number, text in enumerate(texts)]
    path = write(folder / f"own{suffix}", rows, ("id", "text", "label"))
    assert [post.text for post in read_table(path).posts] == texts


@pytest.mark.parametrize("suffix", [".jsonl", ".ndjson"])
@given(rows=ROWS)
def test_json_lines_keep_types(folder, suffix, rows):
    path = write(folder / f"out{suffix}", rows)
    lines = path.read_text("utf-8").splitlines()  # which splits at more than \n
    found = [json.loads(line) for line in lines]
    assert found == [dict(zip(CELLS, row, strict=True)) for row in rows]
    assert [list(map(type, row.values())) for row in found] == [list(map(type, r)) for r in rows]


@given(rows=ROWS)
def test_parquet_keeps_types(folder, rows):
    path = write(folder / "out.parquet", rows)
    found = pq.read_table(path)
    assert found.column_names == list(CELLS)
    assert [tuple(row.values()) for row in found.to_pylist()] == rows
    kinds = dict(zip(CELLS, (pa.string(), pa.int64(), pa.float64(), pa.bool_()), strict=False))
    for number, (name, kind) in enumerate(kinds.items()):
        if any(row[number] is not None for row in rows):
            assert found.schema.field(name).type == kind


@given(rows=ROWS)
def test_excel_keeps_types(folder, rows):
    rows = [(number, *row) for number, row in enumerate(rows)]  # a sheet ends at its last cell
    path = write(folder / "out.xlsx", rows, ("number", *CELLS))
    sheet = openpyxl.load_workbook(path).active
    header, *found = sheet.iter_rows(values_only=True, max_col=1 + len(CELLS))
    assert header == ("number", *CELLS)
    expected = [tuple(None if cell == "" else cell for cell in row) for row in rows]
    assert found == expected
    assert [list(map(type, row)) for row in found] == [list(map(type, row)) for row in expected]
    cells = [cell for row in sheet.iter_rows(min_row=2) for cell in row if cell.value is not None]
    assert "f" not in {cell.data_type for cell in cells}


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet", ".xlsx"])
def test_pandas_reads_the_same(suffix, tmp_path):
    rows = [["7", '=1+1 \u00e4\n\t"x"', 0.1 + 0.2, True], ["8", " b ", 5e-324, False]]
    path = write(tmp_path / f"out{suffix}", rows, ("id", "text", "share", "flag"))
    frame = {
        ".csv": lambda: pandas.read_csv(path, dtype={"id": str}),
        ".tsv": lambda: pandas.read_csv(path, sep="\t", dtype={"id": str}),
        ".jsonl": lambda: pandas.DataFrame(map(json.loads, path.read_text().split("\n")[:-1])),
        ".parquet": lambda: pandas.read_parquet(path),
        ".xlsx": lambda: pandas.read_excel(path, dtype={"id": str}),
    }[suffix]()
    assert frame.to_numpy().tolist() == rows


ODD = {
    "bytes": (b"\0\xff", base64.b64encode(b"\0\xff").decode()),
    "list": ([1, "a", None], '[1, "a", null]'),
    "dictionary": ({"a": b"x", "b": math.nan}, '{"a": "eA==", "b": null}'),
    "not a number": (math.nan, ""),
    "endless": (math.inf, "inf"),
    "half a character": ("a\ud83d", "a\ufffd"),
    "two halves": ("\ud83d\ude00", "\U0001f600"),
}


@pytest.mark.parametrize("name", ODD)
@each_format
def test_what_a_format_has_no_type_for_is_text(suffix, name, tmp_path):
    cell, text = ODD[name]
    path = write(tmp_path / f"out{suffix}", [["1", cell]], ("id", "odd"))
    found = read_back(path)[1][1]
    if suffix == ".parquet" and name in ("bytes", "endless"):
        assert found == cell
    elif suffix == ".parquet" and name == "not a number":
        assert math.isnan(found)
    elif suffix in (".jsonl", ".ndjson") and name in ("list", "dictionary"):
        assert found == json.loads(text)
    else:
        assert (found or "") == text


def read_back(path):
    """Header and rows, by a reader that is not ours."""
    if path.suffix in (".csv", ".tsv"):
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.reader(file, delimiter="," if path.suffix == ".csv" else "\t"))
    if path.suffix == ".parquet":
        rows = pq.read_table(path).to_pylist()
    elif path.suffix == ".xlsx":
        return [list(row) for row in openpyxl.load_workbook(path).active.values]
    else:
        rows = list(map(json.loads, path.read_text("utf-8").split("\n")[:-1]))
    return [list(rows[0]), *(list(row.values()) for row in rows)]


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_nul_is_replaced_and_counted(suffix, tmp_path, caplog):
    path = write(tmp_path / f"out{suffix}", [["a\0b"], ["c"]], ("text",))
    assert read_back(path)[1:] == [["a\ufffdb"], ["c"]]
    assert "U+FFFD in 1 cell." in caplog.text


def test_what_excel_cannot_hold_is_changed_and_counted(tmp_path, caplog):
    smile = "\U0001f600"  # two units of UTF-16
    cells = ["a\x01b\x0c\uffff", "one\r\ntwo\rthree", 33_000 * "x", 20_000 * smile, 10**15]
    path = write(tmp_path / "out.xlsx", [cells], tuple("abcde"))
    expected = [
        "a\ufffdb\ufffd\ufffd",
        "one\ntwo\nthree",
        32_767 * "x",
        16_383 * smile,
        str(10**15),
    ]
    assert read_back(path)[1] == expected
    assert "In 1 cell for Excel, characters that Excel does not allow" in caplog.text
    assert "In 2 cells for Excel, the text is cut off after 32,767 characters" in caplog.text


@pytest.mark.parametrize("text", ["=1+1", "#N/A", "1", "TRUE", "-", "+1", "@x", "2020-01-01"])
def test_texts_stay_texts_in_excel(text, tmp_path):
    path = write(tmp_path / "out.xlsx", [[text]], (text,))
    for row in openpyxl.load_workbook(path).active.iter_rows():
        assert [(cell.value, cell.data_type) for cell in row] == [(text, "s")]


def test_more_than_a_sheet_holds_is_refused(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="16385 columns are too many for Excel"):
        write(tmp_path / "out.xlsx", [], tuple(map(str, range(16_385))))
    monkeypatch.setattr(excel, "MAX_ROWS", 3)
    write(tmp_path / "out.xlsx", [["1"], ["2"]], ("id",))
    with pytest.raises(DataError, match="More than 2 rows are too many for Excel"):
        write(tmp_path / "out.xlsx", [["1"], ["2"], ["3"]], ("id",))
    assert read_back(tmp_path / "out.xlsx") == [["id"], ["1"], ["2"]]


LATER = {
    "nothing, then numbers": ([None, None, 1], pa.int64(), [None, None, 1]),
    "whole, then fractions": ([1, 2, 0.5], pa.float64(), [1, 2, 0.5]),
    "too large for a fraction": (
        [2**53 + 1, 0.5, None],
        pa.string(),
        [str(2**53 + 1), "0.5", None],
    ),
    "too large for a number": ([1, 2**63, None], pa.string(), ["1", str(2**63), None]),
    "numbers, then text": ([1, "a", None], pa.string(), ["1", "a", None]),
    "flags, then numbers": ([True, 1, None], pa.string(), ["true", "1", None]),
    "bytes, then text": ([b"\0", "a", None], pa.string(), ["AA==", "a", None]),
    "lists alike": ([["a"], None, ["b", "c"]], pa.list_(pa.string()), [["a"], None, ["b", "c"]]),
    "lists, then others": ([["a"], [1], None], pa.string(), ['["a"]', "[1]", None]),
    "empty lists first": ([[], ["a"], None], pa.list_(pa.string()), [[], ["a"], None]),
    "empty lists alone": ([[], None, []], pa.list_(pa.string()), [[], None, []]),
    "empty lists inside": (
        [[[]], None, [[1]]],
        pa.list_(pa.list_(pa.int64())),
        [[[]], None, [[1]]],
    ),
    "empty dictionaries": ([{}, {}, None], pa.string(), ["{}", "{}", None]),
    "dictionaries alike": (
        [{"a": 1}, {"a": None}, {"a": 2}],
        pa.struct([("a", pa.int64())]),
        [{"a": 1}, {"a": None}, {"a": 2}],
    ),
    "keys that come and go": (
        [{"a": 1}, {"b": 2}, None],
        pa.string(),
        ['{"a": 1}', '{"b": 2}', None],
    ),
}


@pytest.mark.parametrize("rows_at_once", [1, 2, 100])
@pytest.mark.parametrize("name", LATER)
def test_a_type_that_later_rows_need_is_that_of_all_rows(name, rows_at_once, tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "ROWS_PER_GROUP", rows_at_once)
    cells, kind, expected = LATER[name]
    rows = [[str(number), cell] for number, cell in enumerate(cells)]
    path = write(tmp_path / "out.parquet", rows, ("id", "cell"))
    found = pq.read_table(path)
    assert found["id"].to_pylist() == [row[0] for row in rows]
    assert found.schema.field("cell").type == kind
    assert found["cell"].to_pylist() == expected
    assert os.listdir(tmp_path) == ["out.parquet"]


def test_parquet_is_written_in_groups_that_long_cells_make_smaller(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "BYTES_PER_GROUP", 1000)
    path = write(tmp_path / "out.parquet", [[b"x" * 400] for _ in range(9)], ("image",))
    assert pq.ParquetFile(path).num_row_groups == 3


@each_format
def test_a_column_twice_is_refused(suffix, tmp_path):
    with pytest.raises(DataError, match=r"would have the column 'label' twice: rename one"):
        write(tmp_path / f"out{suffix}", [], ("label", "id", "label"))
    assert os.listdir(tmp_path) == []


@each_format
@pytest.mark.parametrize("rows", [0, 3])
def test_a_failure_leaves_what_was_there(suffix, rows, tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "ROWS_PER_GROUP", 1)
    path = write(tmp_path / f"out{suffix}", [["1"]], ("id",))
    before = path.read_bytes()

    def fail():
        with table_writer(path, ("id",)) as write_row:
            for number in range(rows):
                write_row([number])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


@each_format
def test_a_row_of_another_length_is_a_mistake_of_the_caller(suffix, tmp_path):
    with (
        pytest.raises(ValueError, match=r"argument|cells"),
        table_writer(tmp_path / f"out{suffix}", ("a", "b")) as write_row,
    ):
        write_row(["1"])


@each_format
def test_permissions_are_those_of_the_umask_and_links_are_followed(suffix, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / f"out{suffix}")
    (tmp_path / f"out{suffix}").touch()
    usual = os.umask(0o027)
    try:
        write(tmp_path / "link", [["1"]], ("id",))
    finally:
        os.umask(usual)
    assert (tmp_path / "link").is_symlink()
    assert stat.S_IMODE((tmp_path / f"out{suffix}").stat().st_mode) == 0o640
    assert read_back(tmp_path / f"out{suffix}") == [["id"], ["1"]]


@pytest.mark.parametrize(
    ("name", "expected"), [("pipe", "id\r\n1\r\n"), ("pipe.jsonl", '{"id": "1"}\n')]
)
def test_a_pipe_is_written_as_rows_come(name, expected, tmp_path):
    os.mkfifo(tmp_path / name)
    require_writable_table(tmp_path / name)
    reader = subprocess.Popen(["cat", tmp_path / name], stdout=subprocess.PIPE)
    write(tmp_path / name, [["1"]], ("id",))
    assert reader.communicate(timeout=60)[0].decode() == expected


@pytest.mark.parametrize("suffix", [".parquet", ".xlsx"])
def test_a_pipe_is_no_place_for_binary_formats(suffix, tmp_path):
    os.mkfifo(tmp_path / f"pipe{suffix}")
    with pytest.raises(ConfigError, match=rf"pipe or a device, which cannot hold {suffix}"):
        require_writable_table(tmp_path / f"pipe{suffix}")


@pytest.mark.parametrize("name", ["out", "out.txt", "out.xls", "out.csv.gz", ".csv"])
def test_another_format_is_refused_with_the_known_ones(name, tmp_path):
    message = r"not a table of a supported format: use a file that ends in \.csv, \.tsv, \.jsonl,"
    with pytest.raises(ConfigError, match=message):
        require_writable_table(tmp_path / name)
    require_writable_table(tmp_path / "OUT.CSV")


def test_excel_needs_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(ConfigError, match=re.escape(how_to_install("excel"))):
        require_writable_table(tmp_path / "out.xlsx")


@each_format
def test_columns_of_what_was_written_are_read_back(suffix, tmp_path):
    columns = ["id", "a, b", 'say "x"', "\u00e4"]
    assert read_column_names(write(tmp_path / f"out{suffix}", [list("abcd")], columns)) == columns


@each_format
@pytest.mark.parametrize("content", [b"", b"\x00\xff noise", b"PK\x03\x04", b"PAR1", b"[1]"])
def test_other_files_have_no_columns_of_predictions(suffix, content, tmp_path):
    path = tmp_path / f"out{suffix}"
    path.write_bytes(content)
    assert "label" not in read_column_names(path)
