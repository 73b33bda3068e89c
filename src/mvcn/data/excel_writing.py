"""A table as the sheet of an Excel workbook, written row by row."""

import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mvcn.data.formats.cells import as_text
from mvcn.errors import ConfigError, DataError

MAX_ROWS = 1_048_576
MAX_COLUMNS = 16_384
MAX_CELL_UNITS = 32_767
"""Of UTF-16, as Excel counts the characters of a cell."""
MAX_EXACT_INTEGER = 10**15 - 1
"""Excel keeps 15 digits of a number."""
NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
LINE_BREAK = re.compile("\r\n?")

_logger = logging.getLogger(__name__)


@contextmanager
def excel_writer(path: Path, columns: Sequence[str]) -> Iterator[Callable[[Sequence[Any]], None]]:
    r"""Open an Excel workbook of one sheet for writing.

    Text stays text, also where it begins as a formula does. Whole numbers of more than 15 digits
    are written as text, since Excel would round them, and so is what it has no type for. Line
    breaks are ``\n``. Characters that XML does not allow become U+FFFD, and cells end after 32,767
    characters; both are counted in a warning.

    Args:
        path: File to write.
        columns: Names of the columns.

    Yields:
        What writes one row.

    Raises:
        ConfigError: The library openpyxl is not installed.
        DataError: There are more rows or columns than a sheet can hold.
    """
    require_openpyxl()
    from openpyxl import Workbook
    from openpyxl.utils.exceptions import WorkbookAlreadySaved

    if len(columns) > MAX_COLUMNS:
        raise DataError(f"{len(columns)} columns are too many for Excel: write .csv or .parquet.")
    book = Workbook(write_only=True)
    sheet = _Sheet(book.create_sheet("Sheet1"), len(columns))
    try:
        sheet.write(columns)
        yield sheet.write
        book.save(path)
    finally:
        with suppress(WorkbookAlreadySaved):
            sheet.close()
    for change, count in sheet.changes.items():
        _logger.warning("In %d cell(s) for Excel, %s.", count, change)


class _Sheet:
    """A sheet with what had to change of its cells."""

    def __init__(self, sheet: Any, num_columns: int) -> None:
        self.changes: Counter[str] = Counter()
        self.close = sheet.close
        self._sheet = sheet
        self._num_columns = num_columns
        self._num_rows = 0

    def write(self, cells: Sequence[Any]) -> None:
        """Write one row."""
        if len(cells) != self._num_columns:
            raise ValueError(f"{len(cells)} cells are no row of {self._num_columns} columns.")
        if self._num_rows == MAX_ROWS:
            raise DataError(
                f"More than {MAX_ROWS - 1:,} rows are too many for Excel: write .csv or .parquet."
            )
        self._num_rows += 1
        self._sheet.append([None if value is None else self._cell(value) for value in cells])

    def _cell(self, value: Any) -> Any:
        from openpyxl.cell import WriteOnlyCell

        if isinstance(value, bool):
            return value
        is_number = _is_number(value)
        text = repr(value) if is_number else _allowed(as_text(value), self.changes)
        cell = WriteOnlyCell(self._sheet, text)
        # The library would round numbers to 16 digits and take what begins with = for a formula.
        cell.data_type = "n" if is_number else "s"
        return cell


def require_openpyxl() -> None:
    """Raise a ConfigError unless the library that reads and writes Excel files is installed."""
    try:
        import openpyxl  # noqa: F401
    except ImportError as error:
        raise ConfigError("Excel files need an extra: pip install 'mvcn[excel]'.") from error


def first_row(path: Path) -> list[str]:
    """Return the texts in the first row of the first sheet.

    Raises:
        ConfigError: The library openpyxl is not installed.
        ValueError: The file is no Excel workbook.
    """
    require_openpyxl()
    from openpyxl import load_workbook

    try:
        with path.open("rb") as file:
            book = load_workbook(file, read_only=True)
            rows = book.worksheets[0].iter_rows(max_row=1, values_only=True)
            return [str(cell) for row in rows for cell in row if cell is not None]
    except Exception as error:  # damaged archives and XML fail in many ways
        raise ValueError(f"{path} is no Excel workbook.") from error


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and abs(value) <= MAX_EXACT_INTEGER


def _allowed(text: str, changes: Counter[str]) -> str:
    """Return a text as a cell can hold it, and count what had to change."""
    text, num_replaced = NOT_IN_XML.subn("\ufffd", LINE_BREAK.sub("\n", text))
    if num_replaced:
        changes["characters that XML does not allow are written as U+FFFD"] += 1
    units = text.encode("utf-16-le")
    if len(units) > 2 * MAX_CELL_UNITS:
        changes[f"the text ends after {MAX_CELL_UNITS:,} characters"] += 1
        text = units[: 2 * MAX_CELL_UNITS].decode("utf-16-le", "ignore")
    return text
