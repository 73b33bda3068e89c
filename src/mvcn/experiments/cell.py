"""One cell of an experiment: what one training of one row said of its dev posts, as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from mvcn.config import RunConfig
from mvcn.errors import MvcnError
from mvcn.experiments.grid import settings_of
from mvcn.files import write_json

NUMBER_LISTS = ("labels", "predicted", "has_near_duplicate")
"""Stored as numbers between blanks: one line of the file, not one line a post."""


@dataclass(frozen=True, slots=True)
class CellResult:
    """What is kept of one training; posts are in the order of the dev part."""

    experiment: str
    row: str
    """Name of the settings that the experiment compares with others."""
    data: str
    seed: int
    fold: int | None
    """Number of the fold that was dev, from 0; None for a fixed dev part."""
    class_names: tuple[str, ...]
    labels: Int[np.ndarray, " batch"]
    """True classes, as positions in `class_names`."""
    predicted: Int[np.ndarray, " batch"]
    """Predicted classes, as positions in `class_names`."""
    has_near_duplicate: Bool[np.ndarray, " batch"]
    """Whether the text of the post is nearly that of a training post."""
    posts_digest: str
    """Equal where two cells judged the same posts in the same order."""
    metrics: Mapping[str, Any]
    """`Evaluation.to_mapping` of the dev posts, but for the calibration error: it is that of the
    network before its temperature, which was fitted on the same posts."""
    settings: Mapping[str, Mapping[str, Any]]
    """All settings but those of the data, as `RunConfig.to_mapping` has them."""
    seconds: Mapping[str, float]
    """What took how long; `training` without image features."""
    environment: Mapping[str, Any]


def write_cell(path: Path, cell: CellResult) -> None:
    """Write a cell, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {name: getattr(cell, name) for name in CellResult.__dataclass_fields__}
    lists = {name: " ".join(map(str, content[name].astype(int))) for name in NUMBER_LISTS}
    write_json(path, content | lists)


def read_cell(path: Path) -> CellResult:
    """Read what `write_cell` wrote; settings that came after it have their defaults.

    Raises:
        MvcnError: The file is no such cell.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        lists = {name: np.array(content[name].split(), dtype=np.int64) for name in NUMBER_LISTS}
        lists["has_near_duplicate"] = lists["has_near_duplicate"].astype(bool)
        settings = settings_of(RunConfig.from_mapping(content["settings"]))
        content |= {"class_names": tuple(content["class_names"]), "settings": settings, **lists}
        return CellResult(**content)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise MvcnError(
            f"{path} is no result of mvcn experiment ({error!r}): delete it and run it again."
        ) from error


def read_cells(results: Path) -> Sequence[CellResult]:
    """Read all cells below a folder, ordered by their path.

    Raises:
        MvcnError: There are none, or a file is no cell.
    """
    cells = [read_cell(path) for path in sorted(results.rglob("*.json"))]
    if not cells:
        raise MvcnError(f"{results} holds no results: name a folder that mvcn experiment wrote.")
    return cells
