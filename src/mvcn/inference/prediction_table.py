"""Write predictions into a table, next to the cells of the table that the posts were read from."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import dropwhile, repeat
from pathlib import Path
from typing import Any

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
from mvcn.inference.classifier import Classifier, Prediction
from mvcn.outputs import require_new_file, require_own_file
from mvcn.types import DISAGREEMENT, LABEL, PROBABILITY, StoredImage

LOGGER = logging.getLogger(__name__)
PREDICTED = "predicted_"
"""Prefix of our columns where the table has one of the same name."""
MIDNIGHT = " 00:00:00"
"""Time of a date that was stored without one."""


def require_place_for_predictions(path: Path, *, overwrite: bool) -> None:
    """Raise an error unless the file of predictions can be written.

    Raises:
        ConfigError: The file's suffix is not that of a format that can be written.
        RunError: There is no such folder, or a file that must not be replaced.
    """
    is_own = path.is_file() and (
        path.stat().st_size == 0 or _are_predictions(read_column_names(path))
    )
    require_own_file(path, "file of predictions by mvcn predict", is_own=is_own)
    require_writable_table(path)
    require_new_file(path, overwrite=overwrite)


def _are_predictions(columns: Sequence[str]) -> bool:
    """Return whether columns end with a label and probabilities, and those of an ensemble."""
    names = [name.replace(PREDICTED, "") for name in columns]
    ours = (PROBABILITY, DISAGREEMENT)
    others = list(dropwhile(lambda name: name.startswith(ours), reversed(names)))
    return len(others) < len(names) and others[:1] == [LABEL]


def _unused_name(name: str, others: Sequence[str]) -> str:
    """Return a name that no other column has."""
    while name in others:
        name = f"{PREDICTED}{name}"
    return name


class KeptCells:
    """The original cells of a table, to be written next to the predictions.

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
            LOGGER.info("The column %r is not kept, because its cells are image files.", name)
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
                        f"{self._path} was changed while it was read: run the command again."
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
    """A table with a row for each post: its original cells, if kept, and its prediction."""

    path: Path
    classifier: Classifier
    kept: KeptCells | None
    drops: bool
    """Whether posts without a prediction are omitted; otherwise their cells of ours are empty."""

    @property
    def adds_ids(self) -> bool:
        """Whether a column of ids is added, since the table has none."""
        return self.kept is None or not (self.kept.has_ids or "id" in self.kept.columns)

    @property
    def columns(self) -> list[str]:
        """The names of all columns, ours last."""
        theirs = [] if self.kept is None else list(self.kept.columns)
        # A label of the table, whatever it is called, must not be taken for what was predicted.
        label = f"{PREDICTED}{LABEL}" if any(is_known(one, LABEL) for one in theirs) else LABEL
        ours = [label, *self.classifier.score_columns]
        return [
            *(["id"] if self.adds_ids else []),
            *theirs,
            *(_unused_name(name, theirs) for name in ours),
        ]

    @property
    def hint(self) -> str:
        """Note on a renamed label column; "" if it has its usual name."""
        if f"{PREDICTED}{LABEL}" not in self.columns:
            return ""
        return f" (the class is in the column '{PREDICTED}{LABEL}')"

    def write(
        self, ids: Sequence[str], predictions: Iterator[Prediction]
    ) -> tuple[list[Prediction], int]:
        """Write all rows; return the predictions with a problem, and how many others have no label.

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
                    own_id = [one.id] if self.adds_ids else []
                    write_row([*own_id, *cells, one.label, *self.classifier.scores(one)])
                    unsure += one.label is None and bool(one.probabilities)
        return problems, unsure
