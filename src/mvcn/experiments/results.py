"""Results of the cells of an experiment, each in a small file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from mvcn.config import RunConfig
from mvcn.errors import MvcnError
from mvcn.experiments.grid import DEV, FORMER_VARIANT, TEST, Cell, settings_of
from mvcn.files import write_json

NUMBER_LISTS = ("labels", "predicted", "has_near_duplicate")
"""Stored as numbers separated by spaces, to take one line of the file instead of one per post."""
PROBABILITIES, DIGITS = "probabilities", 4
"""Stored in the same way, post by post, with so many digits behind the point."""


@dataclass(frozen=True, slots=True)
class CellResult:
    """The stored result of one training; posts are in the order of their split."""

    experiment: str
    variant: str
    """Name of the settings."""
    data: str
    seed: int
    fold: int | None
    """Number of the fold that was dev, from 0, or of the published fold, from 1; None for a fixed
    dev split."""
    class_names: tuple[str, ...]
    labels: Int[np.ndarray, " batch"]
    """True classes, as positions in `class_names`."""
    predicted: Int[np.ndarray, " batch"]
    """Predicted classes, as positions in `class_names`."""
    probabilities: Float[np.ndarray, "batch classes"]
    """Calibrated; in files of earlier versions, which have none, 1 for the predicted class."""
    has_near_duplicate: Bool[np.ndarray, " batch"]
    """Whether the text of the post is nearly equal to that of a training post."""
    posts_digest: str
    """Equal where two cells were evaluated on the same posts in the same order."""
    metrics: Mapping[str, Any]
    """`Evaluation.to_mapping` of the posts, except that the calibration error is without the
    temperature where that is fitted on the same posts."""
    settings: Mapping[str, Mapping[str, Any]]
    """All settings but those of the data, as `RunConfig.to_mapping` has them."""
    seconds: Mapping[str, float]
    """Duration of each step; `training` is without image features."""
    environment: Mapping[str, Any]
    train_posts: int | None = None
    """Number of training posts; None in files of earlier versions."""
    processor_seconds: float | None = None
    """Of all processes of the training; None in files of earlier versions."""
    split: str = DEV
    """Split of the posts: ``test`` of a published fold, else ``dev``, also for posts that are
    evaluated out of fold."""
    was_resumed: bool = False
    """Whether the training was interrupted; seconds are then those since it was resumed."""

    @property
    def training_seconds(self) -> float | None:
        """Seconds of a processor for the training; of the clock in files of earlier versions.

        None if it was interrupted, since those before are not known.
        """
        return None if self.was_resumed else self.processor_seconds or self.seconds["training"]


def kind_of_posts(cell: Cell | CellResult) -> str:
    """Return what the posts of a cell are: results of different kinds do not compare."""
    if cell.split == TEST:
        return "published folds"
    return "a fixed split" if cell.fold is None else "folds"


def write_cell(path: Path, cell: CellResult) -> None:
    """Write the result of a cell, or nothing if it fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {name: getattr(cell, name) for name in CellResult.__dataclass_fields__}
    lists = {name: " ".join(map(str, content[name].astype(int))) for name in NUMBER_LISTS}
    numbers = cell.probabilities.ravel().tolist()
    lists[PROBABILITIES] = " ".join(f"{number:.{DIGITS}f}" for number in numbers)
    write_json(path, content | lists)


def read_cell(path: Path) -> CellResult:
    """Read what `write_cell` wrote, with defaults of settings that it does not have.

    Raises:
        MvcnError: The file is not a result of a cell.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        if FORMER_VARIANT in content:
            content["variant"] = content.pop(FORMER_VARIANT)
        lists = {name: np.array(content[name].split(), dtype=np.int64) for name in NUMBER_LISTS}
        lists["has_near_duplicate"] = lists["has_near_duplicate"].astype(bool)
        lists[PROBABILITIES] = _probabilities(content, lists["predicted"])
        settings = settings_of(RunConfig.from_mapping(content["settings"]))
        content |= {"class_names": tuple(content["class_names"]), "settings": settings, **lists}
        if len({len(one) for one in lists.values()}) > 1:
            raise ValueError("its lists have different lengths")
        return CellResult(**content)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise MvcnError(
            f"{path} is not a complete result of mvcn experiment ({error!r}): delete it and run "
            "the experiment again, or use another folder if it is something else."
        ) from error


def _probabilities(
    content: Mapping[str, Any], predicted: Int[np.ndarray, " batch"]
) -> Float[np.ndarray, "batch classes"]:
    classes = len(content["class_names"])
    if PROBABILITIES not in content:
        return np.asarray(np.eye(classes)[predicted])
    return np.array(content[PROBABILITIES].split(), dtype=np.float64).reshape(-1, classes)


def read_cells(results: Path) -> Sequence[CellResult]:
    """Read all results below a folder, ordered by path.

    Raises:
        MvcnError: There are none, or a file is not a result of a cell.
    """
    cells = [read_cell(path) for path in sorted(results.rglob("*.json"))]
    if not cells:
        raise MvcnError(f"{results} has no results: use a folder written by mvcn experiment.")
    return cells
