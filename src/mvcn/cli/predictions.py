"""The file that ``mvcn predict`` writes."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import dropwhile, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvcn.data.formats.columns import is_known
from mvcn.data.formats.posts import id_of_row, require_readable
from mvcn.data.formats.rows import TableOptions
from mvcn.data.table import (
    open_table,
    read_column_names,
    require_writable_table,
    table_writer,
)
from mvcn.data.text import replace_surrogates
from mvcn.errors import DataError
from mvcn.outputs import require_new_file, require_own_file
from mvcn.types import PROBABILITY, StoredImage

if TYPE_CHECKING:
    from mvcn.inference import Prediction

LOGGER = logging.getLogger(__name__)

LABEL = "label"
PREDICTED = "predicted_"
"""What comes before a column of ours where the posts have one of that name."""
MIDNIGHT = " 00:00:00"
"""Of a date, whose time nobody has written."""


def require_place_for_predictions(path: Path, *, overwrite: bool) -> None:
    """Raise an error where something is in the way that may not be replaced.

    Raises:
        ConfigError: The name of the file says no format that can be written.
        RunError: There is no such folder, or a file that is not to be replaced.
    """
    is_own = path.is_file() and (
        path.stat().st_size == 0 or _are_predictions(read_column_names(path))
    )
    require_own_file(path, "file of predictions by mvcn predict", is_own=is_own)
    require_writable_table(path)
    require_new_file(path, overwrite=overwrite)


def _are_predictions(columns: Sequence[str]) -> bool:
    """Return whether columns end with a label and probabilities."""
    names = [name.replace(PREDICTED, "") for name in columns]
    others = list(dropwhile(lambda name: name.startswith(PROBABILITY), reversed(names)))
    return len(others) < len(names) and others[:1] == [LABEL]


def _unlike(name: str, others: Sequence[str]) -> str:
    """Return a name that no other column has."""
    while name in others:
        name = f"{PREDICTED}{name}"
    return name


class KeptCells:
    """The cells of a table as they are in it, to be written next to what was predicted for them.

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
        """The columns in their order, without those that hold image files."""
        held = {
            name for row in self._table.sample() for name, cell in row.items() if _holds_file(cell)
        }
        for name in held:
            LOGGER.info("The column %r is not kept: its cells are image files.", name)
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
        requested, waiting = set(ids), dict[str, list[Any]]()
        rows = self._table.rows(None)
        for post_id in ids:
            while post_id not in waiting:
                row = next(rows, None)
                if row is None:
                    raise DataError(
                        f"{self._path} was changed while its posts were read: try again."
                    )
                if (found := id_of_row(row, self._id_column)) in requested:
                    require_readable(row, self.columns)
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


@dataclass(frozen=True, slots=True)
class PredictionTable:
    """A table with a row for each post: its cells, where they are kept, and what was predicted."""

    path: Path
    class_names: Sequence[str]
    kept: KeptCells | None
    drops: bool
    """Whether posts without a prediction have no row; else the end of theirs is empty."""

    @property
    def has_own_ids(self) -> bool:
        """Whether a column of ids is added, since the posts have none."""
        return self.kept is None or not (self.kept.has_ids or "id" in self.kept.columns)

    @property
    def columns(self) -> list[str]:
        """The names of all columns, ours last."""
        theirs = [] if self.kept is None else list(self.kept.columns)
        # A label of the table, whatever it is called, must not be taken for what was predicted.
        label = f"{PREDICTED}{LABEL}" if any(is_known(one, LABEL) for one in theirs) else LABEL
        ours = [label, *(f"{PROBABILITY}{name}" for name in self.class_names)]
        return [
            *(["id"] if self.has_own_ids else []),
            *theirs,
            *(_unlike(name, theirs) for name in ours),
        ]

    @property
    def hint(self) -> str:
        """What the user must know of the names of the columns; "" if there is nothing."""
        if f"{PREDICTED}{LABEL}" not in self.columns:
            return ""
        return f" (the class is in the column '{PREDICTED}{LABEL}')"

    def write(
        self, ids: Sequence[str], predictions: Iterable["Prediction"]
    ) -> tuple[list["Prediction"], int]:
        """Write all rows; return the posts with a problem, and how many others have no label.

        Args:
            ids: Of the posts.
            predictions: One for each.
        """
        problems, unsure = [], 0
        theirs = repeat([], len(ids)) if self.kept is None else self.kept.of(ids)
        with table_writer(self.path, self.columns) as write_row:
            for one, cells in zip(predictions, theirs, strict=True):
                if one.problem is not None:
                    problems.append(one)
                if one.probabilities or not self.drops:
                    scores = [one.probabilities.get(name) for name in self.class_names]
                    own_id = [one.id] if self.has_own_ids else []
                    write_row([*own_id, *cells, one.label, *scores])
                    unsure += one.label is None and bool(one.probabilities)
        return problems, unsure
