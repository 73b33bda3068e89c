"""Parquet files, read as tables or in batches of posts, and written."""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import LocalFileSystem

from mvcn.data.formats.posts import RowFile, UnreadableCell
from mvcn.data.formats.rows import (
    SAMPLE_ROWS,
    Row,
    Table,
    TableOptions,
    WriteRow,
    as_text,
    is_missing,
    repeated_name,
    require_file,
)
from mvcn.data.stored_files import SUFFIX, StoredFile
from mvcn.data.stored_images import BYTES_FIELD, ParquetImage
from mvcn.errors import DataError, reason_of
from mvcn.files import NOT_ALLOWED, PARTIAL, atomic_replace, why_not_allowed

ROWS_AT_ONCE = 256
BUFFER_BYTES = 1 << 20
"""Read buffer of each column, so that row groups need not fit into memory."""
ROWS_PER_GROUP = 2048
BYTES_PER_GROUP = 2**25
"""Of buffered texts and bytes."""
EXACT_AS_FLOAT = 2**53
MAX_INT64 = 2**63 - 1
TYPES = {
    frozenset({"bool"}): pa.bool_(),
    frozenset({"int"}): pa.int64(),
    frozenset({"large int"}): pa.int64(),
    frozenset({"int", "large int"}): pa.int64(),
    frozenset({"float"}): pa.float64(),
    frozenset({"int", "float"}): pa.float64(),
    frozenset({"bytes"}): pa.binary(),
}
"""Kinds of the cells in a column -> type of the column; text for all others."""


def open_parquet(path: Path, _: TableOptions) -> Table:
    """Open a Parquet file, whose rows are read in batches.

    Images are not kept in memory: bytes, or a struct with ``bytes`` and ``path`` as written by
    Hugging Face datasets.

    Raises:
        DataError: The file is invalid.
    """
    require_file(path, "Parquet")
    with closing(_open(path)) as file:
        names, num_rows = file.schema.names, sum(file.rows_of_groups)
    repeated = repeated_name(names)
    if repeated is not None:
        raise DataError(f"{path} has the column {repeated!r} twice: rename one of them.")
    return Table(
        tuple(names), partial(_sample, path), partial(_table_rows, path), num_rows=num_rows
    )


@contextmanager
def parquet_writer(path: Path, columns: Sequence[str]) -> Iterator[WriteRow]:
    """Open a Parquet file for writing; the cells decide the types of the columns.

    A column of numbers, booleans, bytes, or lists or dictionaries that Arrow preserves keeps its
    type. Integers among floats become floats if that is exact; a column of other mixtures is text,
    as in CSV. If a later row needs another type, the previous rows are written again.
    """
    with atomic_replace(path) as partial_path:
        rows = _ParquetRows(partial_path, [_Column(name) for name in columns])
        try:
            yield rows.write
            rows.flush()
        finally:
            rows.close()


class ParquetRows(RowFile):
    """An open Parquet file as rows of posts.

    Args:
        file: The file.

    Raises:
        DataError: The file is invalid.
    """

    def __init__(self, file: StoredFile) -> None:
        self._file = file
        with _reading(file.path):
            self._parquet = pq.ParquetFile(
                file.path,
                filesystem=file.filesystem,
                buffer_size=BUFFER_BYTES,
                pre_buffer=False,
                page_checksum_verification=True,
            )
        self.schema = self._parquet.schema_arrow
        footer = self._parquet.metadata
        groups = range(footer.num_row_groups)
        self.rows_of_groups = tuple(footer.row_group(group).num_rows for group in groups)

    @property
    def digest(self) -> str:
        """Digest of the footer, whose sizes, offsets and statistics change with the values."""
        sink = pa.BufferOutputStream()
        self._parquet.metadata.write_metadata_file(sink)
        return hashlib.blake2b(sink.getvalue(), digest_size=16).hexdigest()

    def sample(self) -> Iterable[Mapping[str, Any]]:
        """Return the cells of the first rows; empty bytes in columns of bytes."""
        held = {field.name: b"" for field in self.schema if _holds_bytes(field.type)}
        texts = [field.name for field in self.schema if _is_text(field.type)]
        with _reading(self._file.path):
            for batch in self._parquet.iter_batches(SAMPLE_ROWS, columns=texts):
                return [row | held for row in batch.to_pylist()]
        return []

    def read(
        self,
        row_groups: Sequence[int],
        first_row: int,
        names: Mapping[str, str],
        kept: Collection[str] = (),
    ) -> Iterator[tuple[Sequence[Row], pa.RecordBatch]]:
        """Yield batches of rows, and their stored columns; see `RowFile.batches`."""
        there = self.schema.names
        read = [name for name in there if name in names.values()]
        columns = [name for name in there if name in {*read, *kept}]
        with _reading(self._file.path):
            for batch in self._parquet.iter_batches(
                ROWS_AT_ONCE, row_groups=row_groups, columns=columns
            ):
                yield self._rows(batch.select(read), first_row), batch
                first_row += len(batch)

    def _rows(self, batch: pa.RecordBatch, first_row: int) -> list[Row]:
        names, columns = batch.schema.names, [_readable_cells(column) for column in batch.columns]
        return [
            Row(dict(zip(names, cells, strict=True)), row, f"{self._file.name}, row {row}")
            for row, cells in enumerate(zip(*columns, strict=True), start=first_row)
        ]

    def close(self) -> None:
        """Close the file."""
        self._parquet.close()


def _open(path: Path) -> ParquetRows:
    return ParquetRows(StoredFile(LocalFileSystem(), str(path), str(path), path.stat().st_size))


def _sample(path: Path) -> Iterable[Mapping[str, Any]]:
    with closing(_open(path)) as file:
        return file.sample()


def _table_rows(path: Path, names: Mapping[str, str] | None) -> Iterator[Row]:
    with closing(_open(path)) as file:
        plain = [field.name for field in file.schema if not _holds_bytes(field.type)]
        requested = plain if names is None else names.values()
        # Any column gives the number of rows.
        columns = [name for name in file.schema.names if name in requested] or file.schema.names[:1]
        image = (names or {}).get("image", "")
        first_row = 1
        for group, num_rows in enumerate(file.rows_of_groups):
            for rows, _ in file.read([group], first_row, dict(zip(columns, columns, strict=True))):
                for row in rows:
                    yield _without_image(row, image, path, group, row.number - first_row)
            first_row += num_rows


def _without_image(row: Row, column: str, path: Path, group: int, number: int) -> Row:
    """Return a row with a reference to its image instead of the bytes."""
    cell = row.cells.get(column)
    if isinstance(cell, dict):
        cell = cell.get(BYTES_FIELD)
    if not isinstance(cell, bytes):
        return row
    place = ParquetImage(path, group, number, column, number=row.number)
    return replace(row, cells={**row.cells, column: place})


def _holds_bytes(kind: pa.DataType) -> bool:
    """Return whether a column holds files: bytes, or structs with bytes."""
    if pa.types.is_struct(kind):
        return bool(kind.get_field_index(BYTES_FIELD) >= 0)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _readable_cells(column: pa.Array) -> list[Any]:
    """Return the values; text that is not UTF-8 makes only its cell unreadable."""
    try:
        values: list[Any] = column.to_pylist()
    except (UnicodeDecodeError, OverflowError, ValueError):
        return [_cell(value) for value in column]
    return values


def _cell(value: pa.Scalar) -> Any:
    try:
        return value.as_py()
    except (UnicodeDecodeError, OverflowError, ValueError) as error:
        return UnreadableCell(str(error))


@contextmanager
def _reading(path: str) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        forbidden = why_not_allowed(Path(path)) or NOT_ALLOWED
        raise DataError(f"{path} {forbidden}") from error
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        if isinstance(error, pa.ArrowInvalid) and not path.lower().endswith(SUFFIX):
            raise DataError(
                f"{path} is damaged or not a Parquet file: write the posts as Parquet, or use mvcn "
                "predict without --engine."
            ) from error
        raise DataError(
            f"{path} cannot be read as Parquet ({reason_of(error)}): write the file again."
        ) from error


@dataclass(slots=True)
class _Column:
    """A column and the kinds of its cells so far."""

    name: str
    kinds: set[str] = field(default_factory=set)
    nested_type: pa.DataType | None = field(default_factory=pa.null)

    def add(self, cells: Sequence[Any]) -> None:
        self.kinds |= {_kind_of(cell) for cell in cells if cell is not None}
        if self.kinds == {"nested"} and any(cell is not None for cell in cells):
            self.nested_type = _merged(self.nested_type, _nested_type(cells))
            if self.nested_type is None:
                self.kinds.add("text")

    @property
    def type(self) -> pa.DataType:
        if self.kinds == {"nested"}:
            return _with_text_for_null(self.nested_type)
        return TYPES.get(frozenset(self.kinds), pa.string())

    def array(self, cells: Sequence[Any]) -> pa.Array:
        if pa.types.is_string(self.type):
            cells = [None if is_missing(cell) else as_text(cell) for cell in cells]
        elif pa.types.is_floating(self.type):
            cells = [None if cell is None else float(cell) for cell in cells]
        return pa.array(cells, self.type)


class _ParquetRows:
    """A file, and rows buffered for it."""

    def __init__(self, path: Path, columns: Sequence[_Column]) -> None:
        self._path = path
        self._columns = columns
        self._waiting: list[Sequence[Any]] = []
        self._num_bytes = 0
        self._writer: pq.ParquetWriter | None = None

    def write(self, cells: Sequence[Any]) -> None:
        if len(cells) != len(self._columns):
            raise ValueError(
                f"A row has {len(cells)} cells, but there are {len(self._columns)} columns."
            )
        self._waiting.append(list(cells))
        self._num_bytes += sum(len(cell) for cell in cells if isinstance(cell, str | bytes))
        if len(self._waiting) == ROWS_PER_GROUP or self._num_bytes >= BYTES_PER_GROUP:
            self.flush()

    def flush(self) -> None:
        """Write the buffered rows, in types that also fit the previous rows."""
        cells = {
            column.name: [row[number] for row in self._waiting]
            for number, column in enumerate(self._columns)
        }
        for column in self._columns:
            column.add(cells[column.name])
        schema = pa.schema([(column.name, column.type) for column in self._columns])
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, schema)
        elif self._writer.schema != schema:
            self._write_again(schema)
        if self._waiting:
            self._append(cells)
        self._waiting, self._num_bytes = [], 0

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def _write_again(self, schema: pa.Schema) -> None:
        self.close()
        before = self._path.with_name(f"{self._path.name}{PARTIAL}")
        self._path.replace(before)
        try:
            self._writer = pq.ParquetWriter(self._path, schema)
            with pq.ParquetFile(before) as file:
                for group in range(file.num_row_groups):
                    self._append(file.read_row_group(group).to_pydict())
        finally:
            before.unlink()

    def _append(self, cells: Mapping[str, Sequence[Any]]) -> None:
        assert self._writer is not None  # by flush
        arrays = [column.array(cells[column.name]) for column in self._columns]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._writer.schema))


def _kind_of(cell: Any) -> str:
    if isinstance(cell, bool):
        return "bool"
    if isinstance(cell, int):
        if abs(cell) <= EXACT_AS_FLOAT:
            return "int"
        return "large int" if abs(cell) <= MAX_INT64 else "text"
    if isinstance(cell, Mapping | list | tuple):
        return "nested"
    return {float: "float", bytes: "bytes"}.get(type(cell), "text")


def _nested_type(cells: Sequence[Any]) -> pa.DataType | None:
    """Return the type of lists or dictionaries; None if Arrow would change them."""
    try:
        array = pa.array(cells)
        is_same = _has_fields(array.type) and array.to_pylist() == list(cells)
        return array.type if is_same else None
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        return None


def _has_fields(kind: pa.DataType) -> bool:
    """Return whether Parquet supports a type: an empty dictionary has no fields."""
    if pa.types.is_struct(kind) and kind.num_fields == 0:
        return False
    return all(_has_fields(inner.type) for inner in _fields(kind))


def _fields(kind: pa.DataType) -> list[pa.Field]:
    return [kind.field(number) for number in range(kind.num_fields)]


def _merged(one: pa.DataType | None, other: pa.DataType | None) -> pa.DataType | None:
    """Return the common type of two that differ only where one is null, if there is one."""
    if one is None or other is None or one == other or pa.types.is_null(other):
        return one if other is not None else None
    if pa.types.is_null(one):
        return other
    names = [[inner.name for inner in _fields(kind)] for kind in (one, other)]
    if one.id != other.id or names[0] != names[1] or not names[0]:
        return None
    pairs = zip(_fields(one), _fields(other), strict=True)
    inner = [_merged(first.type, second.type) for first, second in pairs]
    return None if None in inner else _with_inner(one, inner)


def _with_text_for_null(kind: pa.DataType) -> pa.DataType:
    """Return a type with text instead of null, which not every program reads."""
    if pa.types.is_null(kind):
        return pa.string()
    inner = [_with_text_for_null(inner.type) for inner in _fields(kind)]
    return _with_inner(kind, inner) if inner else kind


def _with_inner(kind: pa.DataType, inner: Sequence[pa.DataType]) -> pa.DataType:
    """Return the type of a list or dictionary with other inner types."""
    if pa.types.is_list(kind):
        return pa.list_(inner[0])
    names = [field.name for field in _fields(kind)]
    return pa.struct(list(zip(names, inner, strict=True)))
