"""The cells of a table as they stand in it, to be written beside what was predicted for them."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from mvcn.data.formats.posts import id_of_row
from mvcn.data.formats.rows import TableOptions
from mvcn.data.table import open_table
from mvcn.data.text import replace_surrogates
from mvcn.errors import DataError
from mvcn.types import StoredImage

logger = logging.getLogger(__name__)

MIDNIGHT = " 00:00:00"
"""Of a date, whose time nobody has written."""


class KeptCells:
    """The columns of a table, and their cells row by row.

    Args:
        path: The table.
        options: How its rows are read.
        id_column: Its column of ids; "" where the number of a row is its id.
    """

    def __init__(self, path: Path, options: TableOptions, id_column: str) -> None:
        self._path = path
        self._table = open_table(path, options)
        self._id_column = id_column

    @cached_property
    def columns(self) -> Sequence[str]:
        """The columns in their order, without those that hold whole image files."""
        held = {
            name for row in self._table.sample() for name, cell in row.items() if _holds_file(cell)
        }
        for name in held:
            logger.info("The column %r is not kept: its cells are whole image files.", name)
        return [name for name in self._table.columns if name not in held]

    @property
    def has_ids(self) -> bool:
        """Whether one of the columns is that of the ids."""
        return bool(self._id_column)

    def of(self, ids: Sequence[str]) -> Iterator[list[Any]]:
        """Yield the cells of the rows of some posts, in the order of the columns.

        Args:
            ids: Of the posts, in any order; rows are kept in memory where it is not that of the
                table.

        Raises:
            DataError: The table is not what it was when the posts were read.
        """
        wanted, waiting = set(ids), dict[str, list[Any]]()
        rows = self._table.rows(None)
        for post_id in ids:
            while post_id not in waiting:
                row = next(rows, None)
                if row is None:
                    raise DataError(
                        f"{self._path} was changed while its posts were read: try again."
                    )
                if (found := id_of_row(row, self._id_column)) in wanted:
                    waiting[found] = [_plain(row.cells.get(name)) for name in self.columns]
            yield waiting.pop(post_id)


def _holds_file(cell: Any) -> bool:
    return isinstance(cell, bytes | StoredImage) or (isinstance(cell, Mapping) and "bytes" in cell)


def _plain(cell: Any) -> Any:
    """Return a cell as JSON has it, times and the like as text."""
    if isinstance(cell, str):
        return replace_surrogates(cell).text
    if cell is None or isinstance(cell, bool | int | float | list | dict):
        return cell
    return str(cell).removesuffix(MIDNIGHT)
