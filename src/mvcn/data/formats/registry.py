"""What opens and what writes a table, by the end of its name."""

import csv
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from mvcn.data.formats.csv import csv_header, csv_writer, open_csv
from mvcn.data.formats.excel import excel_writer, open_excel, require_openpyxl
from mvcn.data.formats.json_lines import (
    json_lines_keys,
    json_lines_writer,
    open_json,
    open_json_lines,
)
from mvcn.data.formats.parquet import open_parquet, parquet_writer
from mvcn.data.formats.posts import id_of_row, require_readable
from mvcn.data.formats.rows import Table, TableOptions, WriteRow, repeated_name
from mvcn.data.text import replace_surrogates
from mvcn.errors import ConfigError, DataError, MvcnError
from mvcn.files import is_special
from mvcn.types import StoredImage

Opener = Callable[[Path, TableOptions], Table]
Writer = Callable[[Path, Sequence[str]], AbstractContextManager[WriteRow]]

OPENERS: dict[str, Opener] = {
    ".csv": open_csv,
    ".tsv": open_csv,
    ".tab": open_csv,
    ".txt": open_csv,
    ".jsonl": open_json_lines,
    ".ndjson": open_json_lines,
    ".json": open_json,
    ".parquet": open_parquet,
    ".xlsx": open_excel,
}
"""How a file's name ends -> what opens it."""
OPTIONS_OF: dict[Opener, set[str]] = {
    open_csv: {"--encoding", "--quoting"},
    open_json_lines: {"--encoding"},
    open_json: {"--encoding"},
    open_excel: {"--sheet"},
}
"""What opens a file -> the options that it knows."""
WRITERS: dict[str, Writer] = {
    ".csv": csv_writer,
    ".tsv": partial(csv_writer, separator="\t"),
    ".jsonl": json_lines_writer,
    ".ndjson": json_lines_writer,
    ".parquet": parquet_writer,
    ".xlsx": excel_writer,
}
"""How a file's name ends -> what writes it."""
HEADERS: dict[str, Callable[[Path], Sequence[str]]] = {
    ".csv": csv_header,
    ".tsv": partial(csv_header, separator="\t"),
    ".jsonl": json_lines_keys,
    ".ndjson": json_lines_keys,
    ".parquet": lambda path: open_parquet(path, TableOptions()).columns,
    ".xlsx": lambda path: open_excel(path, TableOptions()).columns,
}
"""How a file's name ends -> what reads its columns as the writer has written them."""
BINARY = (".parquet", ".xlsx")
OTHER_SPREADSHEETS = (".xls", ".xlsm", ".xlsb", ".ods", ".numbers")
MIDNIGHT = " 00:00:00"
"""Of a date, whose time nobody has written."""

logger = logging.getLogger(__name__)


def open_table(path: Path, options: TableOptions) -> Table:
    """Open a file of rows by the end of its name.

    Raises:
        ConfigError: An option that this kind of file has no use for.
        DataError: Not such a file; names it.
    """
    opener = OPENERS.get(path.suffix.lower())
    if opener is None and path.is_dir():
        raise DataError(
            f"{path} is a folder, not a table: say by --data what it holds, such as image-folder "
            "or prepared."
        )
    if opener is None:
        first = "save it as .xlsx, or " if path.suffix.lower() in OTHER_SPREADSHEETS else ""
        raise DataError(
            f"{path} is not a table that can be read: {first}give a file whose name ends in "
            f"{', '.join(OPENERS)}."
        )
    useless = set(options.given) - OPTIONS_OF.get(opener, set()) - {"--normalize-labels"}
    if useless:
        raise ConfigError(f"{path} is no file for {', '.join(sorted(useless))}: leave it out.")
    return opener(path, options)


@contextmanager
def table_writer(path: Path, columns: Sequence[str]) -> Iterator[WriteRow]:
    """Open a table for writing that takes the place of `path` only when the block succeeds.

    JSON lines, Parquet and Excel keep the types of cells; CSV and TSV hold `as_text`, quoted where
    needed. Memory does not grow with the number of rows.

    Args:
        path: Where to write; see `require_writable_table`.
        columns: Names of the columns.

    Yields:
        What writes one row.

    Raises:
        ConfigError: The file's name does not say a format that can be written.
        DataError: A column comes twice, or the format cannot hold so many rows or columns.
    """
    twice = repeated_name(columns)
    if twice is not None:
        raise DataError(f"{path} would have the column {twice!r} twice: rename one of them.")
    with WRITERS[_format_of(path)](path, columns) as write:
        yield write


def require_writable_table(path: Path) -> None:
    """Raise a ConfigError unless a table can be written to `path`: for before any work.

    The name of the file, or of the one that it links to, says the format; to a pipe or a device
    goes CSV where its name says nothing else.
    """
    suffix = _format_of(path)
    if suffix in BINARY and is_special(path):
        raise ConfigError(f"{path} is a pipe or a device, which cannot hold {suffix}: name a file.")
    if suffix == ".xlsx":
        require_openpyxl()


def read_column_names(path: Path) -> list[str]:
    """Return the columns of a table as `table_writer` writes it; none if it is no such file."""
    try:
        return list(HEADERS[_format_of(path)](path))
    except (MvcnError, csv.Error, OSError, ValueError, RecursionError):
        return []


def _format_of(path: Path) -> str:
    for name in (path, path.resolve()):
        if name.suffix.lower() in WRITERS:
            return name.suffix.lower()
    if is_special(path):
        return ".csv"
    raise ConfigError(
        f"{path} is no table that can be written: name a file that ends in {', '.join(WRITERS)}."
    )


class KeptCells:
    """The cells of a table as they are in it, to be written next to what was predicted for them.

    Args:
        path: The table.
        options: How its rows are read.
        id_column: Its column of ids; "" where the number of a row is its id.
    """

    def __init__(self, path: Path, options: TableOptions, id_column: str) -> None:
        self._path = path
        self._table = open_table(path, options)
        self._id_column = id_column

    @cached_property
    def columns(self) -> Sequence[str]:
        """The columns in their order, without those that hold image files."""
        held = {
            name for row in self._table.sample() for name, cell in row.items() if _holds_file(cell)
        }
        for name in held:
            logger.info("The column %r is not kept: its cells are image files.", name)
        return [name for name in self._table.columns if name not in held]

    @property
    def has_ids(self) -> bool:
        """Whether one of the columns is that of the ids."""
        return bool(self._id_column)

    def of(self, ids: Sequence[str]) -> Iterator[list[Any]]:
        """Yield the cells of the rows of some posts, in the order of the columns.

        Args:
            ids: Of the posts, in any order; rows are kept in memory where it is not that of the
                table.

        Raises:
            DataError: The table is not what it was when the posts were read.
        """
        requested, waiting = set(ids), dict[str, list[Any]]()
        rows = self._table.rows(None)
        for post_id in ids:
            while post_id not in waiting:
                row = next(rows, None)
                if row is None:
                    raise DataError(
                        f"{self._path} was changed while its posts were read: try again."
                    )
                if (found := id_of_row(row, self._id_column)) in requested:
                    require_readable(row, self.columns)
                    waiting[found] = [_plain(row.cells.get(name)) for name in self.columns]
            yield waiting.pop(post_id)


def _holds_file(cell: Any) -> bool:
    return isinstance(cell, bytes | StoredImage) or (isinstance(cell, Mapping) and "bytes" in cell)


def _plain(cell: Any) -> Any:
    """Return a cell as JSON has it, times and the like as text."""
    if isinstance(cell, str):
        return replace_surrogates(cell).text
    if cell is None or isinstance(cell, bool | int | float | list | dict):
        return cell
    return str(cell).removesuffix(MIDNIGHT)
