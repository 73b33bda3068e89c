"""The file that ``mvcn predict`` writes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import dropwhile, repeat
from pathlib import Path
from typing import TYPE_CHECKING

from mvcn.data.formats.columns import is_known
from mvcn.data.formats.registry import (
    read_column_names,
    require_writable_table,
    table_writer,
)
from mvcn.data.table import KeptCells
from mvcn.outputs import require_new_file, require_own_file
from mvcn.types import PROBABILITY

if TYPE_CHECKING:
    from mvcn.inference import Prediction

LABEL = "label"
PREDICTED = "predicted_"
"""What comes before a column of ours where the posts have one of that name."""


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
