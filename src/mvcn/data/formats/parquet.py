"""Rows of Parquet files; images inside them are left where they are."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mvcn.data.formats.rows import (
    SAMPLE_ROWS,
    Row,
    Table,
    TableOptions,
    repeated_name,
    require_file,
)
from mvcn.data.parquet_images import BYTES_FIELD, ParquetImage
from mvcn.errors import DataError, reason_of


def open_parquet_table(path: Path, _: TableOptions) -> Table:
    """Open a Parquet file, whose rows are read one row group at a time.

    Bytes in the column of the image are not kept: bytes, or a struct with ``bytes`` and ``path``
    as Hugging Face datasets write it.

    Raises:
        DataError: Not such a file, or a damaged one.
    """
    require_file(path, "Parquet")
    with _reading(path), pq.ParquetFile(path) as file:
        names = file.schema_arrow.names
        twice = repeated_name(names)
    if twice is not None:
        raise DataError(f"{path} has the column {twice!r} twice: rename one of them.")
    return Table(tuple(names), partial(_sample, path), partial(_rows, path))


def sample_parquet(file: pq.ParquetFile) -> list[dict[str, Any]]:
    """Return the cells of the first rows; empty bytes for those of a column of bytes."""
    schema = file.schema_arrow
    held = {field.name: b"" for field in schema if holds_bytes(field.type)}
    readable = [field.name for field in schema if _is_readable(field.type)]
    for batch in file.iter_batches(SAMPLE_ROWS, columns=readable):
        return [row | held for row in batch.to_pylist()]
    return []


def holds_bytes(kind: pa.DataType) -> bool:
    """Tell whether a column holds files: bytes, or structs with bytes."""
    if pa.types.is_struct(kind):
        return bool(kind.get_field_index(BYTES_FIELD) >= 0)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_readable(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _sample(path: Path) -> list[dict[str, Any]]:
    with _reading(path), pq.ParquetFile(path) as file:
        return sample_parquet(file)


def _rows(path: Path, names: Mapping[str, str] | None) -> Iterator[Row]:
    with _reading(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
        columns = file.schema_arrow.names
        whole = {field.name for field in file.schema_arrow if not holds_bytes(field.type)}
        wanted = whole if names is None else set(names.values())
        # Any column tells how many rows there are.
        read = [name for name in columns if name in wanted] or columns[:1]
        image = (names or {}).get("image", "")
        groups = range(file.num_row_groups if columns else 0)
        cells = (row for g in groups for row in _cells(file, g, read, image, path))
        for number, row in enumerate(cells, start=1):
            yield Row(dict.fromkeys(columns) | row, number, f"{path}, row {number}")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise DataError(
            f"{path} cannot be read as Parquet ({reason_of(error)}): write the file again."
        ) from error


def _cells(
    file: pq.ParquetFile, group: int, names: list[str], image_column: str, path: Path
) -> Iterator[dict[str, Any]]:
    """Yield the cells of each row of a group, with images as places to read them from."""
    table = file.read_row_group(group, columns=names)
    above = sum(file.metadata.row_group(earlier).num_rows for earlier in range(group))
    columns = [
        _images(table.column(name), path, group, name, above)
        if name == image_column
        else table.column(name).to_pylist()
        for name in names
    ]
    del table  # the bytes of its images
    for row in zip(*columns, strict=True):
        yield dict(zip(names, row, strict=True))


def _images(column: pa.ChunkedArray, path: Path, group: int, name: str, above: int) -> list[Any]:
    """Return a path, a place inside the file, or None for each row of a group.

    Args:
        column: The cells of the group.
        path: Of the file.
        group: Number of the group, from 0.
        name: Of the column.
        above: Rows in the groups before it.
    """
    kind = column.type

    def place(row: int) -> ParquetImage:
        return ParquetImage(path, group, row, name, number=above + row + 1)

    if pa.types.is_struct(kind) and holds_bytes(kind):
        return [place(row) if _has_bytes(cell) else _path(cell) for row, cell in enumerate(column)]
    if holds_bytes(kind):
        return [place(row) if cell.is_valid else None for row, cell in enumerate(column)]
    values: list[Any] = column.to_pylist()
    return values


def _has_bytes(cell: pa.StructScalar) -> bool:
    return bool(cell.is_valid and cell[BYTES_FIELD].is_valid)


def _path(cell: pa.StructScalar) -> Any:
    return cell["path"].as_py() if cell.is_valid and "path" in cell else None
