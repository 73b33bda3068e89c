"""Rows of comma-, tab-, semicolon- and pipe-separated files."""

import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Literal, TypeAlias

from mvcn.data.formats.columns import count_known_names
from mvcn.data.formats.rows import (
    MAX_CELL_CHARACTERS,
    SAMPLE_ROWS,
    Row,
    Table,
    TableOptions,
    number_repeated,
    read_bytes,
    spread,
)
from mvcn.data.stray_quotes import Record, find_joined_rows
from mvcn.data.text import decode
from mvcn.errors import DataError
from mvcn.types import Quoting

QuotingConstant: TypeAlias = Literal[0, 3]
"""`csv.QUOTE_MINIMAL` or `csv.QUOTE_NONE`."""
SEPARATORS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "pipe"}
NO_SEPARATOR = "\x1f"
"""Of a table of one column, whose cells may then contain all others."""
TAB_SUFFIXES = (".tsv", ".tab")
SEPARATOR_LINE = re.compile(r'"?sep=(.)"?[ \t]*(?:\r\n|\r|\n|$)', re.IGNORECASE)
"""By which Excel says what separates the cells of a file."""


def open_csv(path: Path, options: TableOptions) -> Table:
    """Read a file whose cells are separated by commas, tabs, semicolons or pipes.

    The separator is what an Excel line ``sep=;`` says, else the one that makes a table of the
    header and the rows. Cells are quoted as the `csv` module does; a file that is no table with
    quotes but one without them, such as a list of tweets, is read without.

    Raises:
        ConfigError: There is no such encoding.
        DataError: Not such a file; names it, the row and the line.
    """
    text, codec = decode(read_bytes(path, "CSV"), path, options.encoding)
    separator_line = SEPARATOR_LINE.match(text)
    skipped = separator_line.end() if separator_line else 0
    separator = separator_line[1] if separator_line else _find_separator(text, path)
    records, is_quoted = _read(text[skipped:], separator, options.quoting, path, int(skipped > 0))
    header, *rows = records
    columns, repeated = number_repeated([name.strip() for name in header.cells])
    return Table(
        columns,
        lambda: [dict(zip(columns, row.cells, strict=True)) for row in spread(rows)],
        lambda _: _rows(columns, rows, path),
        _layout(separator, codec, is_quoted, rows),
        repeated,
    )


def _layout(separator: str, codec: str, is_quoted: bool, rows: Sequence[Record]) -> str:
    is_single = separator == NO_SEPARATOR
    notes = [
        "one column" if is_single else f"separator {SEPARATORS.get(separator, repr(separator))}"
    ]
    if codec not in ("utf-8", "utf-8-sig"):
        notes.append(codec)
    if not is_quoted:
        notes.append("quotes read as characters")
    if long := sum(row.last_line > row.first_line for row in rows):
        notes.append(f"{long} row(s) over several lines")
    return ", ".join(notes)


def _rows(columns: Sequence[str], records: Sequence[Record], path: Path) -> Iterator[Row]:
    for number, record in enumerate(records, start=1):
        where = f"{path}, row {number} (line {record.first_line})"
        yield Row(dict(zip(columns, record.cells, strict=True)), number, where)


def _find_separator(text: str, path: Path) -> str:
    """Return what separates the names in the header, and known ones at best."""
    first_line = next((line for line in StringIO(text, newline="") if line.strip()), "")
    if not any(separator in first_line for separator in SEPARATORS):
        return NO_SEPARATOR
    usual = "\t" if path.suffix.lower() in TAB_SUFFIXES else ","

    def fit(separator: str) -> tuple[int, bool, bool, int]:
        records = _first_records(text, separator)
        header = records[0].cells if records else [""]
        is_table = len(header) > 1 and all(len(r.cells) == len(header) for r in records)
        known = count_known_names(header)
        return known if len(header) > 1 else 0, is_table, separator == usual, len(header)

    return max(SEPARATORS, key=fit)


def _first_records(text: str, separator: str) -> list[Record]:
    """Return some records, with quotes if they can be read so; none if they cannot at all."""
    for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_NONE):
        try:
            return list(islice(_records(text, separator, quoting), SAMPLE_ROWS))
        except csv.Error:
            continue
    return []


def _read(
    text: str, separator: str, quoting: Quoting, path: Path, lines_before: int
) -> tuple[list[Record], bool]:
    """Return the header and the rows of a table, and whether its cells are quoted."""
    quoted, problem = _try(text, separator, csv.QUOTE_MINIMAL, path, lines_before)
    if quoting == "none" or (quoting == "auto" and problem):
        plain, plain_problem = _try(text, separator, csv.QUOTE_NONE, path, lines_before)
        if quoting == "none" and plain_problem:
            raise DataError(plain_problem)
        if not plain_problem and not (quoting == "auto" and _is_quoted(plain)):
            return plain, False
    if problem:
        raise DataError(problem)
    if quoting == "auto":
        _require_no_joined_rows(quoted, text, separator, path, lines_before)
    return quoted, True


def _is_quoted(records: Sequence[Record]) -> bool:
    """Tell a table of quoted cells from one whose texts have quotes, read as characters."""
    begin = [cell for record in records for cell in record.cells if cell.startswith('"')]
    whole = [cell for cell in begin if len(cell) > 1 and cell.endswith('"')]
    return len(whole) > len(begin) - len(whole)


def _try(
    text: str, separator: str, quoting: QuotingConstant, path: Path, lines_before: int
) -> tuple[list[Record], str]:
    """Return the records of a file, and why they are no table, "" if they are one."""
    records: list[Record] = []
    try:
        for record in _records(text, separator, quoting, lines_before):
            records.append(record)
    except csv.Error as error:
        line = records[-1].last_line + 1 if records else 1 + lines_before
        return records, (
            f"{path}, row {len(records)} (line {line}) is not valid CSV ({error}): correct the "
            "quotes of the row, or read all quotes as characters by --quoting none."
        )
    if not records:
        return records, f"{path} is empty: it needs a header such as id,text,image,label."
    return records, _why_ragged(records, separator, path)


def _why_ragged(records: list[Record], separator: str, path: Path) -> str:
    """Cut empty cells beyond the header off; say which rows then have another length than it."""
    width = len(records[0].cells)
    ragged = []
    for number, record in enumerate(records):
        while len(record.cells) > width > 1 and not record.cells[-1].strip():
            record.cells.pop()
        if len(record.cells) != width:
            ragged.append((number, record))
    if not ragged:
        return ""
    (number, record), others = ragged[0], len(ragged) - 1
    more = f" (so it is with {others} more)" if others else ""
    name = SEPARATORS.get(separator, repr(separator))
    advice = f"quote the cells that contain a {name} or a line break"
    if len(record.cells) < width:
        advice = "add the cells that are missing, or take the row out"
    return (
        f"{path}, row {number} (line {record.first_line}) has {len(record.cells)} cell(s), but the "
        f"header has {width}{more}: {advice}."
    )


def _require_no_joined_rows(
    records: Sequence[Record], text: str, separator: str, path: Path, lines_before: int
) -> None:
    """Raise a DataError where a quote seems to make one cell of what are rows."""
    lines = list(StringIO(text, newline=""))
    for number in find_joined_rows(records, lines, separator, lines_before):
        record = records[number]
        raise DataError(
            f"{path}, row {number} (lines {record.first_line} to {record.last_line}): a quote "
            "makes one cell of what look like rows: correct it, read all quotes as characters by "
            "--quoting none, or keep the line breaks in the cell by --quoting minimal."
        )


def _records(
    text: str, separator: str, quoting: QuotingConstant, lines_before: int = 0
) -> Iterator[Record]:
    """Yield the header and each row; blank lines do not count."""
    # strict: a quote that is never closed would otherwise join all rows below it
    stream = StringIO(text, newline="")
    reader = csv.reader(stream, strict=True, delimiter=separator, quoting=quoting)
    line = 1 + lines_before
    with _long_cells():
        for cells in reader:
            if cells:
                yield Record(cells, line, reader.line_num + lines_before)
            line = reader.line_num + 1 + lines_before


@contextmanager
def _long_cells() -> Iterator[None]:
    """Let the `csv` module read long texts; its limit belongs to the process, so put it back."""
    usual = csv.field_size_limit(MAX_CELL_CHARACTERS)
    try:
        yield
    finally:
        csv.field_size_limit(usual)
