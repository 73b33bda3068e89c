"""Rows of a sheet of an Excel workbook."""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from mvcn.data.formats.rows import (
    SAMPLE_ROWS,
    Row,
    Table,
    TableOptions,
    number_repeated,
    require_file,
)
from mvcn.errors import DataError, reason_of

logger = logging.getLogger(__name__)

ERROR_CELL = "e"
FORMULA_CELL = "f"
MAX_CELL_CHARACTERS = 32_767
"""Excel cuts what is longer."""
TEXT_COLUMNS = ("text", "label", "text_label", "image_label", "id", "image", "split")


@dataclass(frozen=True, slots=True)
class _NoValue:
    """A cell that is an error, or a formula that nothing has computed yet."""

    what: str

    def __str__(self) -> str:
        return self.what


def open_excel(path: Path, options: TableOptions) -> Table:
    """Open a sheet of an Excel workbook whose first row is the header; formulas give their values.

    Numbers and dates in columns of text are read as text, with a warning.

    Raises:
        DataError: Not such a file, no such sheet, or the library openpyxl is not installed.
    """
    require_file(path, "Excel")
    with _reading(path):
        sheets = _sheets(path)
        sheet = _choose(sheets, options.sheet, path)
        header = next((cells for _, cells in _cells(path, sheet)), [])
    columns, repeated = number_repeated([str(cell or "").strip() for cell in header])
    if not any(columns):
        raise DataError(f"{path} is empty: it needs a header such as id,text,image,label.")
    others = f", one of {len(sheets)}" if len(sheets) > 1 else ""
    return Table(
        columns,
        lambda: [dict(r.cells) for r in islice(_rows(path, sheet, columns, None), SAMPLE_ROWS)],
        partial(_rows, path, sheet, columns),
        f"sheet {sheet!r}{others}",
        repeated,
    )


def _choose(sheets: Sequence[str], name: str | None, path: Path) -> str:
    if name is None:
        return sheets[0]
    if name not in sheets:
        raise DataError(
            f"{path} has no sheet {name!r}: choose by --sheet from {', '.join(map(repr, sheets))}."
        )
    return name


def _rows(
    path: Path, sheet: str, columns: Sequence[str], names: Mapping[str, str] | None
) -> Iterator[Row]:
    changed: list[str] = []
    with _reading(path):
        for number, (line, cells) in enumerate(islice(_cells(path, sheet), 1, None), start=1):
            where = f"{path}, row {number} (row {line} of the sheet)"
            padded = [*cells, *[None] * (len(columns) - len(cells))]
            row = dict(zip(columns, padded, strict=False))
            for ours in TEXT_COLUMNS:
                if theirs := (names or {}).get(ours):
                    row[theirs] = _as_text(row[theirs], ours, theirs, where, changed)
            yield Row(row, number, where)
    if changed:
        more = f" and {len(changed) - 1} more cells" if len(changed) > 1 else ""
        logger.warning(
            "%s%s: Excel has made it a number or a date, which may not be what was typed.",
            changed[0],
            more,
        )


def _as_text(cell: Any, ours: str, theirs: str, where: str, changed: list[str]) -> Any:
    """Return what a cell says; numbers stay numbers where they may be labels or ids."""
    if isinstance(cell, _NoValue):
        raise DataError(f"{where}: {theirs!r} is {cell.what}: type its value.")
    if isinstance(cell, str) and len(cell) >= MAX_CELL_CHARACTERS:
        raise DataError(
            f"{where}: {theirs!r} has the {MAX_CELL_CHARACTERS:,} characters at which Excel cuts a "
            "cell: save the table as CSV by the program that wrote it."
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
    values = _open(path, data_only=True)
    formulas = _open(path, data_only=False)
    try:
        for book in (values, formulas):
            book[sheet].reset_dimensions()  # what programs say of the size is often wrong
        rows = zip(values[sheet].iter_rows(), formulas[sheet].iter_rows(), strict=True)
        for line, (row, sources) in enumerate(rows, start=1):
            cells = [_value(cell, of) for cell, of in zip(row, sources, strict=True)]
            while cells and cells[-1] is None:
                cells.pop()
            if cells:
                yield line, cells
    finally:
        values.close()
        formulas.close()


def _value(cell: Any, source: Any) -> Any:
    if cell.data_type == ERROR_CELL:
        return _NoValue(f"the error {cell.value}")
    if cell.value is None and source.data_type == FORMULA_CELL:
        return _NoValue("a formula that no program has computed")
    return cell.value


def _sheets(path: Path) -> list[str]:
    book = _open(path, data_only=True)
    try:
        names = [sheet.title for sheet in book.worksheets]
    finally:
        book.close()
    if not names:
        raise DataError(f"{path} has no sheet with cells: save the table as one.")
    return names


def _open(path: Path, *, data_only: bool) -> Any:
    try:
        import openpyxl
    except ImportError as error:
        raise DataError("Excel files need a further library: pip install 'mvcn[excel]'.") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of styles and extensions that hold no cells
        return openpyxl.load_workbook(path, read_only=True, data_only=data_only)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # the library lets nearly every kind through for damaged files
        raise DataError(
            f"{path} cannot be read as an Excel workbook ({reason_of(error)}): "
            "save it again as .xlsx, without a password."
        ) from error
