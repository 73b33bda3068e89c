"""Excel workbooks: sheets, values of formulas, and what Excel has made of a text."""

import datetime
import logging
import zipfile

import openpyxl
import pytest

from mvcn.data.formats.rows import TableOptions
from mvcn.data.table import read_table
from mvcn.errors import DataError


@pytest.fixture
def write(tmp_path):
    """Write sheets of rows into a workbook."""

    def write_sheets(**sheets):
        book = openpyxl.Workbook()
        book.remove(book.active)
        for title, rows in sheets.items():
            sheet = book.create_sheet(title)
            for row in rows:
                sheet.append(row)
        book.save(tmp_path / "posts.xlsx")
        return tmp_path / "posts.xlsx"

    return write_sheets


def test_the_first_sheet_or_the_one_that_is_named_is_read(write, caplog):
    caplog.set_level(logging.INFO)
    path = write(one=[["Tweet", "Sentiment"], ["a", 1]], two=[["text"], ["b"], ["c"]])
    first, second = read_table(path), read_table(path, options=TableOptions(sheet="two"))
    assert [(post.text, post.label) for post in first.posts] == [("a", "1")]
    assert [post.text for post in second.posts] == ["b", "c"]
    assert "(sheet 'one', one of 2): text from 'Tweet', label from 'Sentiment'" in caplog.text
    with pytest.raises(
        DataError, match="no sheet 'three': choose another with --sheet, from 'one', 'two'"
    ):
        read_table(path, options=TableOptions(sheet="three"))


def test_empty_rows_and_columns_do_not_count(write):
    rows = [[None, None, None], ["id", "text", None], ["1", "a", None], [], [2.0, None, None]]
    posts = read_table(write(one=rows)).posts
    assert [(post.id, post.text) for post in posts] == [("1", "a"), ("2", "")]


CHANGED = {
    "number": (42, "42"),
    "fraction": (0.5, "0.5"),
    "date": (datetime.datetime(2024, 3, 1), "2024-03-01"),
    "time": (datetime.time(12, 30), "12:30:00"),
    "truth": (True, "TRUE"),
}


@pytest.mark.parametrize("kind", CHANGED)
def test_a_text_that_excel_has_changed_is_said(kind, write, caplog):
    cell, expected = CHANGED[kind]
    path = write(one=[["text", "label"], ["a", "x"], [cell, "y"], [cell, "y"]])
    assert [post.text for post in read_table(path).posts] == ["a", expected, expected]
    (line,) = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert f"row 2 (row 3 of the sheet): 'text' is {expected!r} and 1 more cells" in line


def test_a_label_that_excel_has_made_a_date_is_said(write, caplog):
    path = write(one=[["text", "label"], ["a", datetime.datetime(2024, 3, 1)], ["b", "x"]])
    assert read_table(path).class_names == ("2024-03-01", "x")
    assert "'label' is '2024-03-01'" in caplog.text


def test_a_formula_without_a_value_is_refused_where_it_is_read(write):
    path = write(one=[["text", "sum"], ["a", "=1+1"], ["=A1&A2", "=1+1"]])
    with pytest.raises(DataError, match=r"row 2 .*'text' is a formula without"):
        read_table(path)
    assert len(read_table(write(one=[["text", "sum"], ["a", "=1+1"]])).posts) == 1


def test_a_formula_gives_the_value_that_a_program_has_computed(write, tmp_path):
    path = write(one=[["text", "label"], ["=A3", "x"], ["so good", "y"]])
    with zipfile.ZipFile(path) as book:
        files = {name: book.read(name) for name in book.namelist()}
    name = "xl/worksheets/sheet1.xml"
    assert b"<f>A3</f><v />" in files[name]
    computed = files[name].replace(
        b'<c r="A2"><f>A3</f><v />', b'<c r="A2" t="str"><f>A3</f><v>so good</v>'
    )
    with zipfile.ZipFile(tmp_path / "computed.xlsx", "w") as book:
        for each, content in (files | {name: computed}).items():
            book.writestr(each, content)
    assert [p.text for p in read_table(tmp_path / "computed.xlsx").posts] == ["so good"] * 2


def test_an_error_of_excel_is_no_text(write):
    with pytest.raises(DataError, match=r"row 1 .*'text' is the error #N/A"):
        read_table(write(one=[["text"], ["#N/A"]]))


def test_a_text_that_excel_has_truncated_is_refused(write):
    with pytest.raises(DataError, match=r"row 1 .*32,767 characters at which Excel cuts off"):
        read_table(write(one=[["text"], ["x" * 32_767]]))


def test_a_column_twice_and_an_empty_sheet_are_refused(write):
    with pytest.raises(DataError, match="has the column 'text' twice"):
        read_table(write(one=[["text", "text"], ["a", "b"]]))
    with pytest.raises(DataError, match="is empty: it needs a header"):
        read_table(write(one=[]))


@pytest.mark.parametrize("content", [b"", b"PK\3\4 and so on", b"\xd0\xcf\x11\xe0 a password"])
def test_what_is_no_workbook_is_one_sentence(content, tmp_path):
    (tmp_path / "a.xlsx").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.xlsx cannot be read as an Excel workbook"):
        read_table(tmp_path / "a.xlsx")


def test_bad_cells_are_reported_together(write):
    path = write(one=[["text"], ["=1/0"], ["fine"], ["=2/0"]])
    with pytest.raises(DataError, match=r"xlsx has 2 bad rows:\n.*row 1 .*\n.*row 3 "):
        read_table(path)
