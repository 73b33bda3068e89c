"""Tables written row by row, in the format that the file's name says."""

import csv
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mvcn.data.excel_writing import excel_writer, first_row, require_openpyxl
from mvcn.data.formats.cells import as_text, json_text
from mvcn.data.formats.parquet_writer import parquet_writer
from mvcn.data.formats.rows import repeated_name
from mvcn.errors import ConfigError, DataError
from mvcn.files import atomic_replace, atomic_write, is_special

WriteRow = Callable[[Sequence[Any]], None]
"""Takes the cells of a row in the order of the columns: text, numbers, true and false, bytes,
lists, dictionaries, or None."""
Opener = Callable[[Path, Sequence[str]], AbstractContextManager[WriteRow]]

HEAD_CHARACTERS = 1_000_000
BINARY = (".parquet", ".xlsx")

_logger = logging.getLogger(__name__)


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
        return list(map(str, NAME_READERS[_format_of(path)](path)))
    except (ConfigError, csv.Error, OSError, ValueError, RecursionError, pa.ArrowException):
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


@contextmanager
def _delimited_writer(path: Path, columns: Sequence[str], separator: str) -> Iterator[WriteRow]:
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
        _logger.warning("%s: NUL is written as U+FFFD in %d cell(s).", path, num_replaced)


@contextmanager
def _json_lines_writer(path: Path, columns: Sequence[str]) -> Iterator[WriteRow]:
    with atomic_write(path) as file:
        yield lambda cells: _write_line(file.write, columns, cells)


def _write_line(write: Callable[[str], Any], columns: Sequence[str], cells: Sequence[Any]) -> None:
    write(json_text(dict(zip(columns, cells, strict=True))) + "\n")


def _in_its_place(open_writer: Opener) -> Opener:
    """Let a writer write beside the file, which it replaces at the end."""

    @contextmanager
    def opener(path: Path, columns: Sequence[str]) -> Iterator[WriteRow]:
        with atomic_replace(path) as partial_path, open_writer(partial_path, columns) as write:
            yield write

    return opener


def _delimited_names(path: Path, separator: str) -> list[str]:
    head = StringIO(_head(path), newline="")
    return next(csv.reader(head, delimiter=separator), [])


def _json_names(path: Path) -> list[str]:
    first = json.loads(_head(path).partition("\n")[0])
    return list(first) if isinstance(first, dict) else []


def _head(path: Path) -> str:
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        return file.read(HEAD_CHARACTERS)


WRITERS: dict[str, Opener] = {
    ".csv": partial(_delimited_writer, separator=","),
    ".tsv": partial(_delimited_writer, separator="\t"),
    ".jsonl": _json_lines_writer,
    ".ndjson": _json_lines_writer,
    ".parquet": _in_its_place(parquet_writer),
    ".xlsx": _in_its_place(excel_writer),
}
"""How a file's name ends -> what writes it."""
NAME_READERS: dict[str, Callable[[Path], Sequence[str]]] = {
    ".csv": partial(_delimited_names, separator=","),
    ".tsv": partial(_delimited_names, separator="\t"),
    ".jsonl": _json_names,
    ".ndjson": _json_names,
    ".parquet": lambda path: list(pq.read_schema(path).names),
    ".xlsx": first_row,
}
