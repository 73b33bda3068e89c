"""What opens and what writes a table, by the end of its name."""

import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

from mvcn.data.formats.csv import csv_header, csv_writer, open_csv
from mvcn.data.formats.excel import excel_writer, open_excel, require_openpyxl
from mvcn.data.formats.json_lines import (
    json_lines_keys,
    json_lines_writer,
    open_json,
    open_json_lines,
)
from mvcn.data.formats.parquet import open_parquet, parquet_writer
from mvcn.data.formats.rows import Table, TableOptions, WriteRow, repeated_name
from mvcn.errors import ConfigError, DataError, MvcnError
from mvcn.files import is_special

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
