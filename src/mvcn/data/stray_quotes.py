"""Quoted cells that seem to hold rows of their table, since a quote in a text was taken for one."""

import csv
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

MIN_ROWS = 3
"""Rows that a table must have for its columns to tell rows from lines of a text."""
MIN_ROWS_OF_CLASSES = 20
MAX_CLASSES = 50
MIN_SHARE = 0.5
"""Of the lines of a cell that must look like rows for the cell to be refused."""


@dataclass(frozen=True, slots=True)
class Record:
    """The cells of one row, and the lines of the file that they are on, from 1."""

    cells: list[str]
    first_line: int
    last_line: int


@dataclass(frozen=True, slots=True)
class _Columns:
    """What tells the rows of a table from the lines of a text: positions of columns."""

    numbers: frozenset[int]
    words: frozenset[int]
    """Without a blank at the beginning or the end of a cell."""
    classes: Mapping[int, frozenset[str]]
    """Of few different cells."""

    def without(self, columns: Collection[int]) -> "_Columns":
        """Return the others."""
        kept = {column: cells for column, cells in self.classes.items() if column not in columns}
        return _Columns(self.numbers.difference(columns), self.words.difference(columns), kept)


def find_joined_rows(
    records: Sequence[Record], lines: Sequence[str], separator: str, lines_before: int
) -> Iterator[int]:
    """Yield the numbers of rows with a cell over several lines that look like rows themselves.

    A line looks like a row if it has as many cells as the header, quotes aside, and numbers where
    all other rows have numbers. In a table without a column of numbers, it must have no blank
    around a cell where no other row has one, and a known class in a column of few classes, or one
    that several lines have.

    Args:
        records: The header and the rows.
        lines: Of the file.
        separator: Between cells.
        lines_before: Lines of the file that are not in `lines`.
    """
    width = len(records[0].cells)
    long = [n for n, r in enumerate(records) if n > 0 and r.last_line > r.first_line]
    if width == 1 or not long:
        return
    telling = _telling_columns([record.cells for record in records[1:]])
    for number in long:
        record = records[number]
        quoted = [n for n, cell in enumerate(record.cells) if len(cell.splitlines()) > 1]
        inside = lines[record.first_line - 1 - lines_before : record.last_line - lines_before]
        rows = [cells for line in inside if len(cells := _cells(line, separator)) == width]
        like_rows = _count_rows(rows, telling.without(quoted))
        if like_rows >= max(2, MIN_SHARE * len(inside)):
            yield number


def _cells(line: str, separator: str) -> list[str]:
    line = line.rstrip("\r\n")
    return next(csv.reader([line], delimiter=separator, quoting=csv.QUOTE_NONE), [])


def _count_rows(rows: Sequence[Sequence[str]], telling: _Columns) -> int:
    """Return how many lines look like rows by their cells."""
    if telling.numbers:
        return sum(all(_is_number(row[column]) for column in telling.numbers) for row in rows)
    known = {}
    for column, classes in telling.classes.items():
        counts = Counter(row[column].strip() for row in rows)
        known[column] = classes | {cell for cell, count in counts.items() if count > 1}
    return sum(
        all(row[column].strip() in cells for column, cells in known.items())
        and not any(_has_blank(row[column]) for column in telling.words)
        for row in rows
    )


def _telling_columns(rows: Sequence[Sequence[str]]) -> _Columns:
    numbers, words, classes = set[int](), set[int](), dict[int, frozenset[str]]()
    for column in range(len(rows[0])) if len(rows) >= MIN_ROWS else ():
        cells = {row[column] for row in rows}
        stripped = frozenset(cell.strip() for cell in cells)
        if all(map(_is_number, stripped)):
            numbers.add(column)
        elif not any(map(_has_blank, cells)):
            words.add(column)
        if len(rows) >= MIN_ROWS_OF_CLASSES and len(stripped) <= min(MAX_CLASSES, len(rows) // 4):
            classes[column] = stripped
    return _Columns(frozenset(numbers), frozenset(words), classes)


def _has_blank(cell: str) -> bool:
    return cell != cell.strip()


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
