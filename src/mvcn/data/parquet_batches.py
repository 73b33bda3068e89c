"""Posts of Parquet files, a few rows in memory at a time; a bad row does not stop the others."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mvcn.data.image_cells import ImagePlace
from mvcn.data.parquet_files import StoredFile
from mvcn.data.rows import Row
from mvcn.data.table import post_of_row
from mvcn.errors import DataError
from mvcn.files import NOT_ALLOWED, why_not_allowed
from mvcn.types import Post

ROWS_AT_ONCE = 256
BUFFER_BYTES = 1 << 20
"""Of each column, read ahead; without it a row group's whole column would be in memory."""
POST_COLUMNS = ("id", "text", "image", "attributes")
"""What a post to classify is made of."""


@dataclass(frozen=True, slots=True)
class RowBatch:
    """Neighbouring rows of a file."""

    first_row: int
    """Number of the first row in its file; 1 is the first of all."""
    rows: pa.RecordBatch
    """The columns that were read."""
    ids: Sequence[str | None]
    """The id of each row's post, which need not be unique; None where it has none."""
    posts: Sequence[Post | DataError]
    """The post of each row, with the row's number for an id, or what is wrong with it."""


@dataclass(frozen=True, slots=True)
class _Unreadable:
    """Stands for a cell that is not what its column says."""

    reason: str


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
    reason = " ".join(str(error).split()).rstrip(".")[:200]
    return DataError(
        f"{file.path} cannot be read as Parquet ({reason}): write it again, or take it out."
    )


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
    ours = {name: names[name] for name in POST_COLUMNS if names[name]}
    there = parquet.schema_arrow.names
    read = [name for name in there if name in ours.values()]
    wanted = [name for name in there if name in {*read, *kept}]
    batches = parquet.iter_batches(ROWS_AT_ONCE, row_groups=row_groups, columns=wanted)
    while (rows := _next(batches, file)) is not None:
        cells = _rows(rows.select(read), first_row, file)
        ids = [_id(row, names["id"]) for row in cells]
        yield RowBatch(first_row, rows, ids, [_post(row, ours, images) for row in cells])
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


def _id(row: Row, column: str) -> str | None:
    if column not in row.cells:
        return str(row.number)
    cell = row.cells[column]
    return str(cell).strip() or None if type(cell) in (str, int) else None


def _post(row: Row, names: Mapping[str, str], images: ImagePlace) -> Post | DataError:
    for name in names.values():
        if isinstance(cell := row.cells.get(name), _Unreadable):
            return DataError(f"{row.where}: {name!r} cannot be read ({cell.reason}): mend it.")
    try:
        return replace(post_of_row(row, names, images), id=str(row.number))
    except DataError as error:
        return error


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
        return _Unreadable(str(error))
