"""Posts of large files, a few rows in memory at a time; a bad row does not stop the others."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa

from mvcn.data.formats.columns import ANNOTATIONS, find_columns, log_columns
from mvcn.data.formats.posts import id_of_row, post_of_row, without_surrogates
from mvcn.data.formats.rows import Row
from mvcn.data.image_cells import ImagePlace
from mvcn.errors import DataError
from mvcn.types import Post

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
class UnreadableCell:
    """Stands for a cell that is not what its column says."""

    reason: str


@runtime_checkable
class RowFile(Protocol):
    """An open file of posts, whatever its format."""

    @property
    def schema(self) -> pa.Schema:
        """Its columns."""

    @property
    def repeated_columns(self) -> Sequence[str]:
        """More columns, read only where they are asked for: others hold the same."""

    @property
    def rows_of_groups(self) -> tuple[int, ...]:
        """Rows in each of the groups that can be read alone."""

    @property
    def digest(self) -> str:
        """Changes when the content does."""

    def sample(self) -> Iterable[Mapping[str, Any]]:
        """Return the cells of the first rows, as far as they can tell what a column holds."""

    def batches(
        self,
        row_groups: Sequence[int],
        first_row: int,
        names: Mapping[str, str],
        kept: Collection[str],
        images: ImagePlace,
    ) -> Iterator[RowBatch]:
        """Yield the posts of some row groups.

        Args:
            row_groups: Which to read.
            first_row: Number of their first row in the file, from 1.
            names: Our name of each column -> theirs.
            kept: More columns to read.
            images: What image paths are relative to.

        Raises:
            DataError: The file is damaged.
        """

    def close(self) -> None:
        """Close the file."""


def columns_of_posts(
    rows: RowFile, source: str, given: Mapping[str, str], remembered: Mapping[str, str]
) -> dict[str, str]:
    """Return our name of each column of posts to classify -> its name in a file, else "".

    Args:
        rows: An open file.
        source: Its name, for errors.
        given: Our name of a column -> its name in the file.
        remembered: As `given`, for columns that the file need not have.

    Raises:
        ConfigError: A name that is not one of ours.
        DataError: The file is damaged, or has no such columns.
    """
    repeated = [name for name in rows.repeated_columns if name in given.values()]
    columns = [*rows.schema.names, *repeated]
    names = find_columns(
        columns,
        rows.sample,
        source,
        given=given,
        remembered=remembered,
        unread=(*ANNOTATIONS, "split"),
    )
    log_columns(names, columns, source, "")
    return names


def batch_of(
    first_row: int,
    cells: Sequence[Row],
    rows: pa.RecordBatch,
    names: Mapping[str, str],
    images: ImagePlace,
) -> RowBatch:
    """Return the posts of neighbouring rows.

    Args:
        first_row: Number of the first row in its file, from 1.
        cells: The rows.
        rows: The columns that are handed through.
        names: Our name of each column -> theirs.
        images: What image paths are relative to.
    """
    ours = {name: names[name] for name in POST_COLUMNS if names.get(name)}
    ids = [_id(row, ours.get("id", "")) for row in cells]
    return RowBatch(first_row, rows, ids, [_post(row, ours, images) for row in cells])


def require_readable(row: Row, columns: Collection[str]) -> None:
    """Raise a DataError where a cell of one of the columns is not what its column says."""
    for name in columns:
        if isinstance(cell := row.cells.get(name), UnreadableCell):
            raise DataError(f"{row.where}: {name!r} cannot be read ({cell.reason}): correct it.")


def _id(row: Row, column: str) -> str | None:
    try:
        return id_of_row(row, column)
    except DataError:
        return None


def _post(row: Row, names: Mapping[str, str], images: ImagePlace) -> Post | DataError:
    try:
        require_readable(row, names.values())
        whole, _ = without_surrogates(row, names)
        return replace(post_of_row(whole, names, images), id=str(row.number))
    except DataError as error:
        return error
