"""Sheets of Excel workbooks, read and written row by row."""

import logging
import math
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from mvcn.data.formats.rows import (
    EMPTY_TABLE,
    SAMPLE_ROWS,
    Row,
    Table,
    TableOptions,
    WriteRow,
    as_text,
    number_repeated,
    require_file,
)
from mvcn.data.row_errors import RowErrors
from mvcn.errors import DataError, MvcnError, count_of, needs_extra, reason_of
from mvcn.files import atomic_replace

ERROR_CELL = "e"
FORMULA_CELL = "f"
TEXT_COLUMNS = ("text", "label", "text_label", "image_label", "id", "image", "split")
MAX_ROWS = 1_048_576
MAX_COLUMNS = 16_384
MAX_CELL_UNITS = 32_767
"""In UTF-16, as Excel counts the characters of a cell; longer cells are truncated."""
MAX_EXACT_INTEGER = 10**15 - 1
"""Excel keeps 15 digits of a number."""
NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
LINE_BREAK = re.compile("\r\n?")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _NoValue:
    """A cell with an error, or with a formula that was never computed."""

    what: str

    def __str__(self) -> str:
        return self.what


def require_openpyxl() -> None:
    """Raise a ConfigError unless the library that reads and writes Excel files is installed."""
    try:
        import openpyxl  # noqa: F401
    except ImportError as error:
        raise needs_extra("A file of Excel", "excel") from error


def open_excel(path: Path, options: TableOptions) -> Table:
    """Open a sheet of an Excel workbook with a header; formulas are read as their values.

    Numbers and dates in columns of text are read as text, with a warning.

    Raises:
        ConfigError: The library openpyxl is not installed.
        DataError: Not an Excel workbook, or there is no such sheet.
    """
    require_file(path, "Excel")
    with _reading(path):
        with _open(path, data_only=True) as book:
            sheets = [sheet.title for sheet in book.worksheets]
        sheet = _choose(sheets, options.sheet, path)
        header = next((cells for _, cells in _cells(path, sheet)), [])
    columns, repeated = number_repeated([str(cell or "").strip() for cell in header])
    if not any(columns):
        raise DataError(f"{path} {EMPTY_TABLE}")
    others = f", one of {len(sheets)}" if len(sheets) > 1 else ""
    return Table(
        columns,
        lambda: [dict(r.cells) for r in islice(_rows(path, sheet, columns, None), SAMPLE_ROWS)],
        partial(_rows, path, sheet, columns),
        f"sheet {sheet!r}{others}",
        repeated,
    )


@contextmanager
def excel_writer(path: Path, columns: Sequence[str]) -> Iterator[WriteRow]:
    r"""Open an Excel workbook of one sheet for writing.

    Text stays text, even if it looks like a formula. Integers of more than 15 digits are written as
    text, since Excel would round them, and so are values of other types. Line breaks are ``\n``.
    Characters that XML does not allow become U+FFFD, and cells are truncated to 32,767 characters;
    both are counted in a warning.

    Raises:
        ConfigError: The library openpyxl is not installed.
        DataError: There are more rows or columns than a sheet can hold.
    """
    require_openpyxl()
    from openpyxl import Workbook
    from openpyxl.utils.exceptions import WorkbookAlreadySaved

    if len(columns) > MAX_COLUMNS:
        raise DataError(
            f"{len(columns)} columns are too many for Excel: write to a .csv or .parquet file."
        )
    book = Workbook(write_only=True)
    sheet = _Sheet(book.create_sheet("Sheet1"), len(columns))
    try:
        with atomic_replace(path) as partial_path:
            sheet.write(columns)
            yield sheet.write
            book.save(partial_path)
    finally:
        with suppress(WorkbookAlreadySaved):
            sheet.close()
    for change, count in sheet.changes.items():
        logger.warning("In %s for Excel, %s.", count_of(count, "cell"), change)


class _Sheet:
    """A sheet and counts of the changes to its cells."""

    def __init__(self, sheet: Any, num_columns: int) -> None:
        self.changes: Counter[str] = Counter()
        self.close = sheet.close
        self._sheet = sheet
        self._num_columns = num_columns
        self._num_rows = 0

    def write(self, cells: Sequence[Any]) -> None:
        if len(cells) != self._num_columns:
            raise ValueError(
                f"A row has {len(cells)} cells, but there are {self._num_columns} columns."
            )
        if self._num_rows == MAX_ROWS:
            raise DataError(
                f"More than {MAX_ROWS - 1:,} rows are too many for Excel: write to a .csv or "
                ".parquet file."
            )
        self._num_rows += 1
        self._sheet.append([None if value is None else self._cell(value) for value in cells])

    def _cell(self, value: Any) -> Any:
        from openpyxl.cell import WriteOnlyCell

        if isinstance(value, bool):
            return value
        is_number = _is_number(value)
        cell = WriteOnlyCell(self._sheet, repr(value) if is_number else self._text(as_text(value)))
        # The library would round numbers to 16 digits and treat a leading = as a formula.
        cell.data_type = "n" if is_number else "s"
        return cell

    def _text(self, text: str) -> str:
        """Return a text that a cell can hold, and count changes."""
        text, num_replaced = NOT_IN_XML.subn("\ufffd", LINE_BREAK.sub("\n", text))
        if num_replaced:
            self.changes["characters that Excel does not allow are replaced by U+FFFD"] += 1
        units = text.encode("utf-16-le")
        if len(units) > 2 * MAX_CELL_UNITS:
            self.changes[f"the text is cut off after {MAX_CELL_UNITS:,} characters"] += 1
            text = units[: 2 * MAX_CELL_UNITS].decode("utf-16-le", "ignore")
        return text


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and abs(value) <= MAX_EXACT_INTEGER


def _choose(sheets: Sequence[str], name: str | None, path: Path) -> str:
    if not sheets:
        raise DataError(f"{path} has only empty sheets: add a header and one row per post.")
    if name is None or name in sheets:
        return name or sheets[0]
    raise DataError(
        f"{path} has no sheet {name!r}: choose another with --sheet, from "
        f"{', '.join(map(repr, sheets))}."
    )


def _rows(
    path: Path, sheet: str, columns: Sequence[str], names: Mapping[str, str] | None
) -> Iterator[Row]:
    changed: list[str] = []
    errors = RowErrors(str(path))
    with _reading(path):
        for number, (line, cells) in enumerate(islice(_cells(path, sheet), 1, None), start=1):
            where = f"{path}, row {number} (row {line} of the sheet)"
            padded = [*cells, *[None] * (len(columns) - len(cells))]
            row = dict(zip(columns, padded, strict=False))
            with errors.collect():
                for ours in TEXT_COLUMNS:
                    if theirs := (names or {}).get(ours):
                        row[theirs] = _as_text(row[theirs], ours, theirs, where, changed)
                yield Row(row, number, where)
    errors.require_none()
    if changed:
        more = f" and {len(changed) - 1} more cells" if len(changed) > 1 else ""
        logger.warning(
            "%s%s: Excel stored it as a number or a date, which may not be what was typed.",
            changed[0],
            more,
        )


def _as_text(cell: Any, ours: str, theirs: str, where: str, changed: list[str]) -> Any:
    """Return the value of a cell; numbers are kept where they may be labels or ids."""
    if isinstance(cell, _NoValue):
        raise DataError(f"{where}: {theirs!r} is {cell.what}: enter its value instead.")
    if isinstance(cell, str) and len(cell) >= MAX_CELL_UNITS:
        raise DataError(
            f"{where}: {theirs!r} has the {MAX_CELL_UNITS:,} characters at which Excel cuts off a "
            "cell: export the table as CSV from the program that wrote it."
        )
    if isinstance(cell, datetime | date | time | timedelta):
        text = str(cell).removesuffix(" 00:00:00")
    elif ours == "text" and isinstance(cell, bool):
        text = str(cell).upper()
    elif ours == "text" and isinstance(cell, int | float):
        text = f"{cell:.15g}"
    else:
        return cell
    changed.append(f"{where}: {theirs!r} is {text!r}")
    return text


def _cells(path: Path, sheet: str) -> Iterator[tuple[int, list[Any]]]:
    """Yield the number and the cells of each row that is not empty."""
    with _open(path, data_only=True) as values, _open(path, data_only=False) as formulas:
        for book in (values, formulas):
            book[sheet].reset_dimensions()  # the stated size is often wrong
        rows = zip(values[sheet].iter_rows(), formulas[sheet].iter_rows(), strict=True)
        for line, (row, formula_row) in enumerate(rows, start=1):
            cells = [_value(cell, formula) for cell, formula in zip(row, formula_row, strict=True)]
            while cells and cells[-1] is None:
                cells.pop()
            if cells:
                yield line, cells


def _value(cell: Any, formula: Any) -> Any:
    if cell.data_type == ERROR_CELL:
        return _NoValue(f"the error {cell.value}")
    if cell.value is None and formula.data_type == FORMULA_CELL:
        return _NoValue("a formula without a stored result")
    return cell.value


@contextmanager
def _open(path: Path, *, data_only: bool) -> Iterator[Any]:
    require_openpyxl()
    import openpyxl

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about styles and extensions
        book = openpyxl.load_workbook(path, read_only=True, data_only=data_only)
    try:
        yield book
    finally:
        book.close()


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except MvcnError:
        raise
    except Exception as error:  # of nearly any type for damaged files
        raise DataError(
            f"{path} cannot be read as an Excel workbook ({reason_of(error)}): save it again as "
            ".xlsx without a password."
        ) from error
