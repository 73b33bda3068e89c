"""Rows of Parquet files; images inside them are left where they are."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mvcn.data.parquet_images import BYTES_FIELD, ParquetImage
from mvcn.data.rows import Row, repeated_name, require_file
from mvcn.errors import DataError


def read_parquet_rows(path: Path, image_column: str, wanted: Collection[str]) -> Iterator[Row]:
    """Yield the rows of a Parquet file, one row group in memory at a time.

    Args:
        path: The file.
        image_column: Column whose bytes are not kept: bytes, or a struct with ``bytes`` and
            ``path`` as Hugging Face datasets write it.
        wanted: Columns to read; the cells of others are None.

    Raises:
        DataError: Not such a file, or a damaged one.
    """
    require_file(path, "Parquet")
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            names = file.schema_arrow.names
            twice = repeated_name(names)
            if twice is not None:
                raise DataError(f"{path} has the column {twice!r} twice: rename one of them.")
            # Any column tells how many rows there are.
            read = [name for name in names if name in wanted] or names[:1]
            groups = range(file.num_row_groups if names else 0)
            cells = (row for g in groups for row in _cells(file, g, read, image_column, path))
            for number, row in enumerate(cells, start=1):
                yield Row(dict.fromkeys(names) | row, number, f"{path}, row {number}")
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{path} cannot be read as Parquet ({reason}): write the file again."
        ) from error


def _cells(
    file: pq.ParquetFile, group: int, names: list[str], image_column: str, path: Path
) -> Iterator[dict[str, Any]]:
    """Yield the cells of each row of a group, with images as places to read them from."""
    table = file.read_row_group(group, columns=names)
    columns = [
        _images(table.column(name), path, group, name)
        if name == image_column
        else table.column(name).to_pylist()
        for name in names
    ]
    del table  # the bytes of its images
    for row in zip(*columns, strict=True):
        yield dict(zip(names, row, strict=True))


def _images(column: pa.ChunkedArray, path: Path, group: int, name: str) -> list[Any]:
    """Return a path, a place inside the file, or None for each row of a group."""
    kind = column.type
    if pa.types.is_struct(kind) and kind.get_field_index(BYTES_FIELD) >= 0:
        return [
            ParquetImage(path, group, row, name) if _has_bytes(cell) else _path(cell)
            for row, cell in enumerate(column)
        ]
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return [
            ParquetImage(path, group, row, name) if cell.is_valid else None
            for row, cell in enumerate(column)
        ]
    values: list[Any] = column.to_pylist()
    return values


def _has_bytes(cell: pa.StructScalar) -> bool:
    return bool(cell.is_valid and cell[BYTES_FIELD].is_valid)


def _path(cell: pa.StructScalar) -> Any:
    return cell["path"].as_py() if cell.is_valid and "path" in cell else None
