"""Quoted cells that seem to hold rows of their table, since a quote in a text was taken for one."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MIN_ROWS = 20
"""Rows that a table must have for its columns to tell rows from lines of a text."""
MAX_CLASSES = 50
MIN_SHARE = 0.5
"""Of the lines of a cell that must look like rows for the cell to be refused."""


@dataclass(frozen=True, slots=True)
class Record:
    """The cells of one row, and the lines of the file that they are on, from 1."""

    cells: list[str]
    first_line: int
    last_line: int


def find_joined_rows(
    records: Sequence[Record], lines: Sequence[str], separator: str, lines_before: int
) -> Iterator[int]:
    """Yield the numbers of rows with a cell over several lines that look like rows themselves.

    A line looks like a row if it has as many cells as the header, quotes aside. In a table of many
    rows, it must also have a known class, or a number, where all other rows have one of few
    classes, or a number.

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
    known = _known_cells([r.cells for r in records[1:] if r.last_line == r.first_line])
    for number in long:
        first, last = records[number].first_line, records[number].last_line
        inside = lines[first - 1 - lines_before : last - lines_before]
        quoted = [n for n, cell in enumerate(records[number].cells) if len(cell.splitlines()) > 1]
        telling = {column: cells for column, cells in known.items() if column not in quoted}
        like_rows = [_is_like_a_row(line, separator, width, telling) for line in inside]
        if sum(like_rows) >= max(2, MIN_SHARE * len(inside)):
            yield number


def _is_like_a_row(
    line: str, separator: str, width: int, known: dict[int, frozenset[str] | None]
) -> bool:
    cells = next(csv.reader([line], delimiter=separator, quoting=csv.QUOTE_NONE), [])
    return len(cells) == width and all(
        _is_number(cells[column]) if classes is None else cells[column].strip() in classes
        for column, classes in known.items()
    )


def _known_cells(rows: Sequence[Sequence[str]]) -> dict[int, frozenset[str] | None]:
    """Return the columns that tell rows from texts: their classes, or None if all are numbers."""
    known: dict[int, frozenset[str] | None] = {}
    if len(rows) < MIN_ROWS:
        return known
    for column in range(len(rows[0])):
        cells = {row[column].strip() for row in rows}
        if len(cells) <= min(MAX_CLASSES, len(rows) // 4):
            known[column] = frozenset(cells)
        elif all(map(_is_number, cells)):
            known[column] = None
    return known


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
