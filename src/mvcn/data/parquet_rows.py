"""Rows of Parquet files; images inside them are left where they are."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mvcn.data.parquet_images import BYTES_FIELD, ParquetImage
from mvcn.data.rows import Row, require_file
from mvcn.errors import DataError


def read_parquet_rows(path: Path, image_column: str) -> Iterator[Row]:
    """Yield the rows of a Parquet file, one row group in memory at a time.

    Args:
        path: The file.
        image_column: Column whose bytes are not kept: bytes, or a struct with ``bytes`` and
            ``path`` as Hugging Face datasets write it.

    Raises:
        DataError: Not such a file, or a damaged one.
    """
    require_file(path, "Parquet")
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            names = file.schema_arrow.names
            if len(set(names)) < len(names):
                raise DataError(f"{path} has two columns of one name: rename one of them.")
            groups = range(file.num_row_groups)
            cells = (row for group in groups for row in _cells(file, group, image_column, path))
            for number, row in enumerate(cells, start=1):
                yield Row(row, number, f"{path}, row {number}")
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{path} cannot be read as Parquet ({reason}): write the file again."
        ) from error


def _cells(
    file: pq.ParquetFile, group: int, image_column: str, path: Path
) -> Iterator[dict[str, Any]]:
    """Yield the cells of each row of a group, with images as places to read them from."""
    names = [name for name in file.schema_arrow.names if name != image_column]
    count = file.metadata.row_group(group).num_rows
    columns = {name: _values(file, group, name) for name in names}
    if image_column in file.schema_arrow.names:
        columns[image_column] = _images(file, group, image_column, path)
    for row in range(count):
        yield {name: values[row] for name, values in columns.items()}


def _values(file: pq.ParquetFile, group: int, name: str) -> list[Any]:
    index = file.schema_arrow.names.index(name)
    kind = file.schema_arrow.field(index).type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return [None] * file.metadata.row_group(group).num_rows  # nobody asked for it
    values: list[Any] = file.read_row_group(group, columns=[name]).column(name).to_pylist()
    return values


def _images(file: pq.ParquetFile, group: int, name: str, path: Path) -> list[Any]:
    """Return a path, a place inside the file, or None for each row of a group."""
    column = file.read_row_group(group, columns=[name]).column(name)
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
