"""Comma-, tab-, semicolon- and pipe-separated files, read and written."""

import csv
import logging
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeAlias

from mvcn.data.formats.columns import count_known_names
from mvcn.data.formats.rows import (
    EMPTY_TABLE,
    MAX_CELL_CHARACTERS,
    SAMPLE_ROWS,
    Row,
    Table,
    TableOptions,
    WriteRow,
    as_text,
    number_repeated,
    read_bytes,
    spread,
)
from mvcn.data.text import decode
from mvcn.errors import DataError, count_of
from mvcn.files import atomic_write
from mvcn.types import Quoting

QuotingConstant: TypeAlias = Literal[0, 3]
"""`csv.QUOTE_MINIMAL` or `csv.QUOTE_NONE`."""
SEPARATORS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "pipe"}
NO_SEPARATOR = "\x1f"
"""For a table of one column, whose cells may contain all the others."""
TAB_SUFFIXES = (".tsv", ".tab")
SEPARATOR_LINE = re.compile(r'"?sep=(.)"?[ \t]*(?:\r\n|\r|\n|$)', re.IGNORECASE)
"""First line by which Excel states the separator."""
LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
HEAD_CHARACTERS = 1_000_000
MIN_ROWS = 3
"""Minimum number of rows for the columns to distinguish rows from lines of text."""
MIN_ROWS_OF_CLASSES = 20
MAX_CLASSES = 50
MIN_SHARE = 0.5
"""Minimum share of lines of a cell that look like rows for the cell to be rejected."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Record:
    """The cells of one row, and the lines of the file that they are on, from 1."""

    cells: list[str]
    first_line: int
    last_line: int


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    text: str
    separator: str

    @property
    def separator_name(self) -> str:
        return SEPARATORS.get(self.separator, repr(self.separator))

    def records(self, quoting: QuotingConstant) -> Iterator[_Record]:
        """Yield the header and each row, ignoring blank lines.

        Raises:
            csv.Error: A row is not valid CSV; has its first line and the reason.
        """
        # strict: a quote that is never closed would otherwise join all rows below it
        reader = csv.reader(
            _lines(self.text), strict=True, delimiter=self.separator, quoting=quoting
        )
        line = 1
        with _long_cells():
            try:
                for cells in reader:
                    if cells:
                        yield _Record(cells, line, reader.line_num)
                    line = reader.line_num + 1
            except csv.Error as error:
                raise csv.Error(line, error) from error


def open_csv(path: Path, options: TableOptions) -> Table:
    """Read a file whose cells are separated by commas, tabs, semicolons or pipes.

    The separator is that of a line ``sep=;`` by Excel, else the one with which header and rows form
    a table. Cells are quoted as by the `csv` module; a file that is a table only without quoting,
    such as a list of tweets, is read without.

    Raises:
        ConfigError: There is no such encoding.
        DataError: The file is not such a table; names the file, the row and the line.
    """
    text, codec = decode(read_bytes(path, "CSV"), path, options.encoding)
    stated = SEPARATOR_LINE.match(text)
    if stated:
        text = "\n" + text[stated.end() :]  # a blank line, so that lines keep their numbers
    file = _File(path, text, stated[1] if stated else _find_separator(path, text))
    (header, *rows), is_quoted = _read(file, options.quoting)
    columns, repeated = number_repeated([name.strip() for name in header.cells])
    sample = [dict(zip(columns, row.cells, strict=True)) for row in spread(rows)]
    return Table(
        columns,
        lambda: sample,
        lambda _: _rows(columns, file, csv.QUOTE_MINIMAL if is_quoted else csv.QUOTE_NONE),
        _layout(file, codec, is_quoted, rows),
        repeated,
        len(rows),
    )


@contextmanager
def csv_writer(path: Path, columns: Sequence[str], separator: str = ",") -> Iterator[WriteRow]:
    """Open a file for writing whose cells are those of `as_text`, quoted where needed.

    NUL is replaced by U+FFFD, with a warning.
    """
    num_replaced = 0

    def write(cells: Sequence[Any]) -> None:
        nonlocal num_replaced
        texts = [as_text(cell) for _, cell in zip(columns, cells, strict=True)]
        num_replaced += sum("\0" in text for text in texts)
        writer.writerow([text.replace("\0", "\ufffd") for text in texts])

    with atomic_write(path) as file:
        writer = csv.writer(file, delimiter=separator)
        write(columns)
        yield write
    if num_replaced:
        cells = count_of(num_replaced, "cell")
        logger.warning("%s: NUL characters are replaced by U+FFFD in %s.", path, cells)


def csv_header(path: Path, separator: str = ",") -> list[str]:
    """Return the cells of the first row; raises a `csv.Error` if it is invalid."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        head = StringIO(file.read(HEAD_CHARACTERS), newline="")
    return next(csv.reader(head, delimiter=separator), [])


def _layout(file: _File, codec: str, is_quoted: bool, rows: Sequence[_Record]) -> str:
    is_single = file.separator == NO_SEPARATOR
    notes = ["one column" if is_single else f"separator {file.separator_name}"]
    if codec not in ("utf-8", "utf-8-sig"):
        notes.append(codec)
    if not is_quoted:
        notes.append("quotes read as characters")
    if long := sum(row.last_line > row.first_line for row in rows):
        notes.append(f"{count_of(long, 'row')} over several lines")
    return ", ".join(notes)


def _rows(columns: Sequence[str], file: _File, quoting: QuotingConstant) -> Iterator[Row]:
    """Yield the rows of a table, read again: all at once they take several times its memory."""
    for number, record in enumerate(islice(file.records(quoting), 1, None), start=1):
        where = f"{file.path}, row {number} (line {record.first_line})"
        cells = _without_empty_ends(record.cells, len(columns))
        yield Row(dict(zip(columns, cells, strict=True)), number, where)


def _lines(text: str) -> Iterator[str]:
    """Yield the lines of a text as `StringIO` does, which would hold it in four bytes a letter."""
    return (line[0] for line in LINE.finditer(text))


def _find_separator(path: Path, text: str) -> str:
    """Return the separator of the header, preferring one that yields known names."""
    first_line = next((line for line in _lines(text) if line.strip()), "")
    if not any(separator in first_line for separator in SEPARATORS):
        return NO_SEPARATOR
    usual = "\t" if path.suffix.lower() in TAB_SUFFIXES else ","

    def fit(separator: str) -> tuple[int, bool, bool, int]:
        records = _first_records(_File(path, text, separator))
        header = records[0].cells if records else [""]
        is_table = len(header) > 1 and all(len(r.cells) == len(header) for r in records)
        known = count_known_names(header)
        return known if len(header) > 1 else 0, is_table, separator == usual, len(header)

    return max(SEPARATORS, key=fit)


def _first_records(file: _File) -> list[_Record]:
    """Return the first records, with quoting if that is valid; none if they are invalid."""
    for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_NONE):
        try:
            return list(islice(file.records(quoting), SAMPLE_ROWS))
        except csv.Error:
            continue
    return []


def _read(file: _File, quoting: Quoting) -> tuple[list[_Record], bool]:
    """Return the header and the rows of a table, and whether its cells are quoted."""
    quoted, problem = _try(file, csv.QUOTE_MINIMAL)
    if quoting == "none" or (quoting == "auto" and problem):
        plain, plain_problem = _try(file, csv.QUOTE_NONE)
        if quoting == "none" and plain_problem:
            raise DataError(plain_problem)
        if not plain_problem and not (quoting == "auto" and _is_quoted(plain)):
            return plain, False
    if problem:
        raise DataError(problem)
    if quoting == "auto":
        _require_no_joined_rows(quoted, file)
    return quoted, True


def _is_quoted(records: Sequence[_Record]) -> bool:
    """Return whether a table read without quoting seems to have quoted cells."""
    begin = [cell for record in records for cell in record.cells if cell.startswith('"')]
    complete = [cell for cell in begin if len(cell) > 1 and cell.endswith('"')]
    return 2 * len(complete) > len(begin)


def _try(file: _File, quoting: QuotingConstant) -> tuple[list[_Record], str]:
    """Return the records of a file, and why they are not a table, "" if they are."""
    records: list[_Record] = []
    try:
        for record in file.records(quoting):
            records.append(record)
    except csv.Error as error:
        line, reason = error.args
        return records, (
            f"{file.path}, row {len(records)} (line {line}) is not valid CSV ({reason}): fix the "
            "quotes in the row, or read all quotes as plain characters with --quoting none."
        )
    return records, _why_ragged(records, file) if records else f"{file.path} {EMPTY_TABLE}"


def _why_ragged(records: list[_Record], file: _File) -> str:
    """Remove empty cells beyond the header; return an error if rows still differ in length."""
    width = len(records[0].cells)
    ragged = []
    for number, record in enumerate(records):
        if len(_without_empty_ends(record.cells, width)) != width:
            ragged.append((number, record))
    if not ragged:
        return ""
    (number, record), others = ragged[0], len(ragged) - 1
    more = f" ({count_of(others, 'more row differs', 'more rows differ')}, too)" if others else ""
    advice = f"quote the cells that contain a {file.separator_name} or a line break"
    if len(record.cells) < width:
        advice = "add the missing cells, or remove the row"
    return (
        f"{file.path}, row {number} (line {record.first_line}) has "
        f"{count_of(len(record.cells), 'cell')}, but the header has {width}{more}: {advice}."
    )


def _without_empty_ends(cells: list[str], width: int) -> list[str]:
    """Remove empty cells beyond the header, and return the others."""
    while len(cells) > width > 1 and not cells[-1].strip():
        cells.pop()
    return cells


def _require_no_joined_rows(records: Sequence[_Record], file: _File) -> None:
    """Raise a DataError if a quote seems to join rows into one cell."""
    for number in _find_joined_rows(records, file):
        record = records[number]
        raise DataError(
            f"{file.path}, row {number} (lines {record.first_line} to {record.last_line}): a quote "
            "seems to join several rows into one cell: fix it, read all quotes as plain characters "
            "with --quoting none, or keep the line breaks with --quoting minimal."
        )


def _find_joined_rows(records: Sequence[_Record], file: _File) -> Iterator[int]:
    """Yield the numbers of rows with a multi-line cell whose lines look like rows.

    A line looks like a row if it has as many cells as the header, quotes aside, and numbers where
    all other rows have numbers. In a table without a column of numbers, it must have no whitespace
    around a cell where no other row has some, and a known class in a column of few classes, or one
    that several lines have.
    """
    width = len(records[0].cells)
    long = [n for n, r in enumerate(records) if n > 0 and r.last_line > r.first_line]
    if width == 1 or not long:
        return
    lines = list(_lines(file.text))
    columns = _Columns.of([record.cells for record in records[1:]])
    for number in long:
        record = records[number]
        quoted = [n for n, cell in enumerate(record.cells) if len(cell.splitlines()) > 1]
        inside = lines[record.first_line - 1 : record.last_line]
        rows = [_cells(line, file.separator) for line in inside]
        like_rows = columns.without(quoted).count_alike([r for r in rows if len(r) == width])
        if like_rows >= max(2, MIN_SHARE * len(inside)):
            yield number


def _cells(line: str, separator: str) -> list[str]:
    line = line.rstrip("\r\n")
    return next(csv.reader([line], delimiter=separator, quoting=csv.QUOTE_NONE), [])


@dataclass(frozen=True, slots=True)
class _Columns:
    """Positions of the columns that distinguish rows from lines of text."""

    numbers: frozenset[int]
    words: frozenset[int]
    """Columns without leading or trailing whitespace in cells."""
    classes: Mapping[int, frozenset[str]]
    """Column of few different cells -> these cells."""

    @classmethod
    def of(cls, rows: Sequence[Sequence[str]]) -> "_Columns":
        numbers, words, classes = set[int](), set[int](), dict[int, frozenset[str]]()
        for column in range(len(rows[0])) if len(rows) >= MIN_ROWS else ():
            cells = {row[column] for row in rows}
            stripped = frozenset(cell.strip() for cell in cells)
            if all(map(_is_number, stripped)):
                numbers.add(column)
            elif stripped == cells:
                words.add(column)
            max_classes = min(MAX_CLASSES, len(rows) // 4)
            if len(rows) >= MIN_ROWS_OF_CLASSES and len(stripped) <= max_classes:
                classes[column] = stripped
        return cls(frozenset(numbers), frozenset(words), classes)

    def without(self, columns: Collection[int]) -> "_Columns":
        kept = {column: cells for column, cells in self.classes.items() if column not in columns}
        return _Columns(self.numbers.difference(columns), self.words.difference(columns), kept)

    def count_alike(self, rows: Sequence[Sequence[str]]) -> int:
        """Return how many lines have cells like those of rows."""
        if self.numbers:
            return sum(all(_is_number(row[column]) for column in self.numbers) for row in rows)
        known = {}
        for column, classes in self.classes.items():
            counts = Counter(row[column].strip() for row in rows)
            known[column] = classes | {cell for cell, count in counts.items() if count > 1}
        return sum(
            all(row[column].strip() in cells for column, cells in known.items())
            and all(row[column] == row[column].strip() for column in self.words)
            for row in rows
        )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


@contextmanager
def _long_cells() -> Iterator[None]:
    """Raise the field size limit of the `csv` module, which is global, and restore it."""
    usual = csv.field_size_limit(MAX_CELL_CHARACTERS)
    try:
        yield
    finally:
        csv.field_size_limit(usual)
