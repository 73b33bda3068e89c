"""Converting rows to posts, one by one or in batches of a large file."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from mvcn.data.formats.columns import ANNOTATIONS, find_columns, log_columns
from mvcn.data.formats.rows import Row, id_of_cell, label_of_cell, text_of_cell, words_of_cell
from mvcn.data.image_references import ImagePlace, image_of_cell
from mvcn.data.text import replace_surrogates
from mvcn.errors import DataError
from mvcn.types import Post

POST_COLUMNS = ("id", "text", "image", "attributes")
"""Columns of a post to classify."""


@dataclass(frozen=True, slots=True)
class UnreadableCell:
    """A cell that is not a valid value of its column."""

    reason: str


def require_readable(row: Row, columns: Iterable[str]) -> None:
    """Raise a DataError if a cell of one of the columns cannot be read."""
    for name in columns:
        if isinstance(cell := row.cells.get(name), UnreadableCell):
            raise DataError(f"{row.where}: {name!r} cannot be read ({cell.reason}): fix the cell.")


def without_surrogates(row: Row, names: Mapping[str, str]) -> tuple[Row, int]:
    """Return a row without lone surrogates, and how many cells had some.

    An image path is not changed, since the name of a file may be other bytes.

    Args:
        row: One row of a file.
        names: Our name of each column that is read -> its name in the file.
    """
    changed: dict[str, str] = {}
    for ours, theirs in names.items():
        if ours != "image" and isinstance(cell := row.cells.get(theirs), str):
            complete, replaced = replace_surrogates(cell)
            if replaced:
                changed[theirs] = complete
    return (replace(row, cells={**row.cells, **changed}) if changed else row), len(changed)


def post_of_row(
    row: Row, names: Mapping[str, str], folder: ImagePlace, *, normalize: bool = False
) -> Post:
    """Convert a row to a post.

    Args:
        row: One row of a file.
        names: Our name of each column that is read -> its name in the file.
        folder: Folder that image paths are relative to.
        normalize: Whether labels are converted to lower case with single spaces.

    Raises:
        DataError: A cell is invalid; names the row.
    """
    require_readable(row, names.values())
    # A column without a name, such as the index of a data frame, is ignored.
    cells = {
        ours: row.cells[theirs] for ours, theirs in names.items() if theirs and theirs in row.cells
    }

    def label(column: str) -> str | None:
        return label_of_cell(cells.get(column), column, row, normalize=normalize)

    split = cells.get("split")
    return Post(
        id=id_of_row(row, names.get("id", "")),
        text=text_of_cell(cells.get("text"), row),
        image=image_of_cell(cells.get("image"), row, folder),
        label=label("label"),
        text_label=label("text_label"),
        image_label=label("image_label"),
        attributes=words_of_cell(cells.get("attributes"), row),
        split=str("" if split is None else split).strip() or None,
    )


def id_of_row(row: Row, column: str) -> str:
    """Return the id of the post in a row.

    Args:
        row: One row of a file.
        column: Column of the ids; "" if there is none.

    Raises:
        DataError: The cell is not an id; names the row.
    """
    if column and column in row.cells:
        return replace_surrogates(id_of_cell(row.cells[column], row)).text
    return row.default_id or str(row.number)


@dataclass(frozen=True, slots=True)
class RowBatch:
    """Consecutive rows of a file."""

    first_row: int
    """Number of the first row in its file, from 1."""
    rows: pa.RecordBatch
    """The stored columns that were read."""
    ids: Sequence[str | None]
    """The id of each row's post, not necessarily unique; None if it has none."""
    posts: Sequence[Post | DataError]
    """The post of each row, with the number of the row as id, or the error of the row."""


class RowFile(ABC):
    """An open file of posts in any format; a bad row does not affect the others."""

    schema: pa.Schema
    repeated_columns: Sequence[str] = ()
    """Columns that repeat others, read only on request."""
    rows_of_groups: tuple[int, ...]
    """Number of rows in each group that can be read separately."""

    @property
    @abstractmethod
    def digest(self) -> str:
        """Changes when the content does."""

    @abstractmethod
    def sample(self) -> Iterable[Mapping[str, Any]]:
        """Return cells of the first rows, as far as needed to recognise columns."""

    @abstractmethod
    def read(
        self,
        row_groups: Sequence[int],
        first_row: int,
        names: Mapping[str, str],
        kept: Collection[str] = (),
    ) -> Iterator[tuple[Sequence[Row], pa.RecordBatch]]:
        """Yield batches of rows, and their stored columns; see `batches`."""

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
            row_groups: Groups to read.
            first_row: Number of their first row in the file, from 1.
            names: Our name of each column -> its name in the file.
            kept: Further columns to read.
            images: Folder that image paths are relative to.

        Raises:
            DataError: The file is damaged.
        """
        ours = {name: names[name] for name in POST_COLUMNS if names.get(name)}
        for rows, stored in self.read(row_groups, first_row, ours, kept):
            ids = [_id(row, ours.get("id", "")) for row in rows]
            yield RowBatch(first_row, stored, ids, [_post(row, ours, images) for row in rows])
            first_row += len(rows)

    @abstractmethod
    def close(self) -> None:
        """Close the file."""


def columns_of_posts(
    rows: RowFile, where: str, given: Mapping[str, str], remembered: Mapping[str, str]
) -> dict[str, str]:
    """Return our name of each column of posts to classify -> its name in a file, else "".

    Args:
        rows: An open file.
        where: Its name, for errors.
        given: Our name of a column -> its name in the file.
        remembered: As `given`, but used only if the file has the column.

    Raises:
        ConfigError: An unknown name of a column.
        DataError: The file is damaged, or its columns are missing.
    """
    repeated = [name for name in rows.repeated_columns if name in given.values()]
    columns = [*rows.schema.names, *repeated]
    unread = (*ANNOTATIONS, "split")
    names = find_columns(
        columns, rows.sample, where, given=given, remembered=remembered, unread=unread
    )
    log_columns(names, columns, where, "")
    return names


def _id(row: Row, column: str) -> str | None:
    try:
        return id_of_row(row, column)
    except DataError:
        return None


def _post(row: Row, names: Mapping[str, str], images: ImagePlace) -> Post | DataError:
    try:
        complete, _ = without_surrogates(row, names)
        return replace(post_of_row(complete, names, images), id=str(row.number))
    except DataError as error:
        return error
