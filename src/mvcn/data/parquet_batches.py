"""Posts of Parquet files, a few rows in memory at a time; a bad row does not stop the others."""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mvcn.data.formats.batches import POST_COLUMNS, RowBatch, UnreadableCell, batch_of
from mvcn.data.formats.parquet import sample_parquet
from mvcn.data.formats.rows import Row
from mvcn.data.image_cells import ImagePlace
from mvcn.data.stored_files import SUFFIX, StoredFile
from mvcn.errors import DataError, reason_of
from mvcn.files import NOT_ALLOWED, why_not_allowed

ROWS_AT_ONCE = 256
BUFFER_BYTES = 1 << 20
"""Of each column, read ahead; without it a row group's whole column would be in memory."""


class ParquetRows:
    """An open Parquet file as rows of posts.

    Args:
        file: The file.

    Raises:
        DataError: Not such a file, or a damaged one.
    """

    def __init__(self, file: StoredFile) -> None:
        self._file = file
        self._parquet = open_parquet(file)
        self.schema: pa.Schema = self._parquet.schema_arrow
        footer = self._parquet.metadata
        groups = range(footer.num_row_groups)
        self.rows_of_groups = tuple(footer.row_group(group).num_rows for group in groups)

    @property
    def repeated_columns(self) -> tuple[str, ...]:
        """Nothing: no column is known to repeat another one."""
        return ()

    @property
    def digest(self) -> str:
        """Of the footer, which changes with the values: sizes, offsets and limits of columns."""
        sink = pa.BufferOutputStream()
        self._parquet.metadata.write_metadata_file(sink)
        return hashlib.blake2b(sink.getvalue(), digest_size=16).hexdigest()

    def sample(self) -> Iterable[Mapping[str, Any]]:
        """Return the cells of the first rows; see `sample_parquet`."""
        return sample_parquet(self._parquet)

    def batches(
        self,
        row_groups: Sequence[int],
        first_row: int,
        names: Mapping[str, str],
        kept: Collection[str],
        images: ImagePlace,
    ) -> Iterator[RowBatch]:
        """Yield the posts of some row groups; see `read_row_batches`."""
        return read_row_batches(
            self._parquet, self._file, row_groups, first_row, names, kept, images
        )

    def close(self) -> None:
        """Close the file."""
        self._parquet.close()


def open_parquet(file: StoredFile) -> pq.ParquetFile:
    """Open a Parquet file and read its footer.

    Raises:
        DataError: Not such a file, or a damaged one.
    """
    try:
        return pq.ParquetFile(
            file.path,
            filesystem=file.filesystem,
            buffer_size=BUFFER_BYTES,
            pre_buffer=False,
            page_checksum_verification=True,
        )
    except (pa.ArrowException, OSError, ValueError) as error:
        raise unreadable(file, error) from error


def unreadable(file: StoredFile, error: Exception) -> DataError:
    """Return the error of a Parquet file that cannot be read."""
    if isinstance(error, PermissionError):
        forbidden = why_not_allowed(Path(file.path)) or NOT_ALLOWED
        return DataError(f"{file.path} {forbidden}")
    advice = "write it again, or take it out"
    if not file.path.lower().endswith(SUFFIX):
        advice = "write its table as Parquet, or leave --engine out"
    return DataError(f"{file.path} cannot be read as Parquet ({reason_of(error)}): {advice}.")


def read_row_batches(
    parquet: pq.ParquetFile,
    file: StoredFile,
    row_groups: Sequence[int],
    first_row: int,
    names: Mapping[str, str],
    kept: Collection[str],
    images: ImagePlace,
) -> Iterator[RowBatch]:
    """Yield the posts of some row groups of a file.

    Args:
        parquet: The file, as `open_parquet` gives it.
        file: Its name, for errors.
        row_groups: Which to read.
        first_row: Number of their first row in the file, from 1.
        names: Our name of each column -> theirs.
        kept: More columns to read.
        images: What image paths are relative to.

    Raises:
        DataError: The file is damaged.
    """
    ours = {name: names[name] for name in POST_COLUMNS if names.get(name)}
    there = parquet.schema_arrow.names
    read = [name for name in there if name in ours.values()]
    wanted = [name for name in there if name in {*read, *kept}]
    batches = parquet.iter_batches(ROWS_AT_ONCE, row_groups=row_groups, columns=wanted)
    while (rows := _next(batches, file)) is not None:
        cells = _rows(rows.select(read), first_row, file)
        yield batch_of(first_row, cells, rows, names, images)
        first_row += len(rows)


def _next(batches: Iterator[pa.RecordBatch], file: StoredFile) -> pa.RecordBatch | None:
    try:
        return next(batches, None)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise unreadable(file, error) from error


def _rows(rows: pa.RecordBatch, first_row: int, file: StoredFile) -> list[Row]:
    names = rows.schema.names
    columns = [_cells(column) for column in rows.columns]
    return [
        Row(dict(zip(names, cells, strict=True)), row, f"{file.name}, row {row}")
        for row, cells in enumerate(zip(*columns, strict=True), start=first_row)
    ]


def _cells(column: pa.Array) -> list[Any]:
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
