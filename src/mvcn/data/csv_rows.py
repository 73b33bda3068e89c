"""Rows of comma- and tab-separated files."""

import codecs
import csv
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

from mvcn.data.rows import MAX_CELL_CHARACTERS, Row, read_bytes, repeated_name
from mvcn.errors import DataError

COMMA, TAB = ",", "\t"


def read_csv_rows(path: Path) -> Iterator[Row]:
    """Yield the rows below the header of a comma-separated UTF-8 file, which is read whole.

    Raises:
        DataError: Not such a file; names it, the row and the line.
    """
    yield from _read(path, COMMA)


def read_tsv_rows(path: Path) -> Iterator[Row]:
    """Yield the rows below the header of a tab-separated UTF-8 file.

    A cell may be quoted as in CSV, the way that spreadsheets and pandas write one
    with a tab or a line break; a quote inside a cell that does not begin with one is literal.

    Raises:
        DataError: Not such a file; names it, the row and the line.
    """
    yield from _read(path, TAB)


def _read(path: Path, separator: str) -> Iterator[Row]:
    numbered = enumerate(_read_cells(path, separator))
    header = _parse_header(next(numbered)[1][1], path)
    for number, (line, cells) in numbered:
        where = f"{path}, row {number} (line {line})"
        if len(cells) != len(header):
            name = "commas" if separator == COMMA else "tabs"
            raise DataError(
                f"{where} has {len(cells)} cell(s), but the header has {len(header)}: "
                f"quote the cells that contain {name}."
            )
        yield Row(dict(zip(header, cells, strict=True)), number, where)


def _read_cells(path: Path, separator: str) -> list[tuple[int, list[str]]]:
    """Return line number and cells of the header and of each row; blank lines do not count."""
    # strict: a quote that is never closed would otherwise swallow the rest of the table
    text = StringIO(_read_text(path), newline="")
    reader = csv.reader(text, strict=True, delimiter=separator)
    rows: list[tuple[int, list[str]]] = []
    line = 1
    try:
        with _long_cells():
            for cells in reader:
                if cells:
                    rows.append((line, cells))
                line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{path}, row {len(rows)} (line {line}) is not valid CSV ({error}): mend it."
        ) from error
    if not rows:
        raise DataError(f"{path} is empty: it needs a header such as id,text,image,label.")
    return rows


@contextmanager
def _long_cells() -> Iterator[None]:
    """Let the `csv` module read long texts; its limit belongs to the process, so put it back."""
    usual = csv.field_size_limit(MAX_CELL_CHARACTERS)
    try:
        yield
    finally:
        csv.field_size_limit(usual)


def _read_text(path: Path) -> str:
    content = read_bytes(path, "CSV")
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(f"{path} is UTF-16, as spreadsheets call Unicode text: save it as UTF-8.")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}, line {_line_of(content, error.start)}: byte {error.start} "
            f"({content[error.start]:#04x}) is not UTF-8: save the table as UTF-8."
        ) from error
    if "\0" in text:
        line = _line_of(content, content.index(b"\0"))
        raise DataError(f"{path}, line {line} contains a NUL byte: save the table as UTF-8 CSV.")
    return text.removeprefix("\ufeff")


def _line_of(content: bytes, position: int) -> int:
    return len((content[:position] + b".").splitlines())


def _parse_header(cells: list[str], path: Path) -> list[str]:
    header = [name.strip() for name in cells]
    twice = repeated_name(filter(None, header))
    if twice is not None:
        raise DataError(f"{path} has the column {twice!r} twice: rename one of them.")
    return header
