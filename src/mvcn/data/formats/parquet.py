"""Parquet files as tables, whose images are left where they are, and as batches of posts."""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
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
    repeated_name,
    require_file,
)
from mvcn.data.stored_files import SUFFIX, StoredFile
from mvcn.data.stored_images import BYTES_FIELD, ParquetImage
from mvcn.errors import DataError, reason_of
from mvcn.files import NOT_ALLOWED, why_not_allowed

ROWS_AT_ONCE = 256
BUFFER_BYTES = 1 << 20
"""Of each column, read ahead; without it a row group's whole column would be in memory."""


def open_parquet(path: Path, _: TableOptions) -> Table:
    """Open a Parquet file, whose rows are read a few at a time.

    Bytes in the column of the image are not kept: bytes, or a struct with ``bytes`` and ``path``
    as Hugging Face datasets write it.

    Raises:
        DataError: Not such a file, or a damaged one.
    """
    require_file(path, "Parquet")
    with closing(_open(path)) as file:
        names = file.schema.names
    twice = repeated_name(names)
    if twice is not None:
        raise DataError(f"{path} has the column {twice!r} twice: rename one of them.")
    return Table(tuple(names), partial(_sample, path), partial(_table_rows, path))


class ParquetRows(RowFile):
    """An open Parquet file as rows of posts.

    Args:
        file: The file.

    Raises:
        DataError: Not such a file, or a damaged one.
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
        """Of the footer, which changes with the values: sizes, offsets and limits of columns."""
        sink = pa.BufferOutputStream()
        self._parquet.metadata.write_metadata_file(sink)
        return hashlib.blake2b(sink.getvalue(), digest_size=16).hexdigest()

    def sample(self) -> Iterable[Mapping[str, Any]]:
        """Return the cells of the first rows; empty bytes for those of a column of bytes."""
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
        """Yield neighbouring rows, and their columns as they are stored; see `RowFile.batches`."""
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
        # Any column tells how many rows there are.
        columns = [name for name in file.schema.names if name in requested] or file.schema.names[:1]
        image = (names or {}).get("image", "")
        first_row = 1
        for group, num_rows in enumerate(file.rows_of_groups):
            for rows, _ in file.read([group], first_row, dict(zip(columns, columns, strict=True))):
                for row in rows:
                    yield _without_image(row, image, path, group, row.number - first_row)
            first_row += num_rows


def _without_image(row: Row, column: str, path: Path, group: int, number: int) -> Row:
    """Return a row with the place of its image, in a row of a row group, instead of its bytes."""
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
    """Return the values; text that is not UTF-8 spoils its own cell alone."""
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
        advice = "write the file again"
        if not path.lower().endswith(SUFFIX):
            advice = "write its table as Parquet, or use mvcn predict"
        raise DataError(
            f"{path} cannot be read as Parquet ({reason_of(error)}): {advice}."
        ) from error
