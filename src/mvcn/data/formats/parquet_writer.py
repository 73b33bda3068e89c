"""A table as a Parquet file, written row by row."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mvcn.data.formats.cells import as_text, is_missing
from mvcn.data.formats.rows import WriteRow
from mvcn.files import PARTIAL, atomic_replace

ROWS_AT_ONCE = 2048
BYTES_AT_ONCE = 2**25
"""Of texts and bytes that wait to be written."""
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
"""Kinds of the cells in a column -> its type; text for all others."""


@contextmanager
def parquet_writer(path: Path, columns: Sequence[str]) -> Iterator[WriteRow]:
    """Open a Parquet file for writing; the cells decide the types of the columns.

    A column of numbers, of true and false, of bytes, or of lists or dictionaries that Arrow gives
    back as they were keeps its type. Integers among fractions become fractions where that loses
    nothing; a column of other mixtures is text, as CSV would have it. Where a later row needs
    another type, the rows before it are written again.
    """
    with atomic_replace(path) as partial_path:
        rows = _ParquetRows(partial_path, [_Column(name) for name in columns])
        try:
            yield rows.write
            rows.flush()
        finally:
            rows.close()


@dataclass(slots=True)
class _Column:
    """A column with the kinds of cells that it has held."""

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
    """A file, and the rows that wait to be written to it."""

    def __init__(self, path: Path, columns: Sequence[_Column]) -> None:
        self._path = path
        self._columns = columns
        self._waiting: list[Sequence[Any]] = []
        self._num_bytes = 0
        self._writer: pq.ParquetWriter | None = None

    def write(self, cells: Sequence[Any]) -> None:
        if len(cells) != len(self._columns):
            raise ValueError(f"{len(cells)} cells are no row of {len(self._columns)} columns.")
        self._waiting.append(list(cells))
        self._num_bytes += sum(len(cell) for cell in cells if isinstance(cell, str | bytes))
        if len(self._waiting) == ROWS_AT_ONCE or self._num_bytes >= BYTES_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Write the rows that wait, in types that hold the rows before them, too."""
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
    """Return the type of lists or dictionaries; None where Arrow would change them."""
    try:
        array = pa.array(cells)
        is_same = _has_fields(array.type) and array.to_pylist() == list(cells)
        return array.type if is_same else None
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        return None


def _has_fields(kind: pa.DataType) -> bool:
    """Return whether Parquet can hold a type: an empty dictionary has no fields."""
    if pa.types.is_struct(kind) and kind.num_fields == 0:
        return False
    return all(_has_fields(inner.type) for inner in _fields(kind))


def _fields(kind: pa.DataType) -> list[pa.Field]:
    return [kind.field(number) for number in range(kind.num_fields)]


def _merged(one: pa.DataType | None, other: pa.DataType | None) -> pa.DataType | None:
    """Return the type that two differ from only where they have seen nothing, if there is one."""
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
    """Return a type with text where nothing has been seen, which not every program reads."""
    if pa.types.is_null(kind):
        return pa.string()
    inner = [_with_text_for_null(inner.type) for inner in _fields(kind)]
    return _with_inner(kind, inner) if inner else kind


def _with_inner(kind: pa.DataType, inner: Sequence[pa.DataType]) -> pa.DataType:
    """Return a list's or dictionary's type with other types inside."""
    if pa.types.is_list(kind):
        return pa.list_(inner[0])
    names = [field.name for field in _fields(kind)]
    return pa.struct(list(zip(names, inner, strict=True)))
