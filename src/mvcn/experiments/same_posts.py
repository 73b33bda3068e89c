"""All cells of a dataset are evaluated on the same posts, or nothing is trained."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mvcn.config import DataConfig, RunConfig
from mvcn.data.bad_images import missing_input
from mvcn.data.posts import fingerprint
from mvcn.data.reading import TrainingPosts, read_training_posts
from mvcn.errors import MvcnError, RunError, count_of
from mvcn.experiments.grid import Cell, CellResult, Experiment, cells_of, naming
from mvcn.models.registry import system
from mvcn.training.arguments import num_members
from mvcn.training.run_folder import training_posts
from mvcn.types import Post

LOG = logging.getLogger(__name__)
SPLIT_SEED = 0
"""The split of a dataset without dev posts is the same for every variant and seed."""


def with_fixed_splits(experiment: Experiment) -> Experiment:
    """Return the experiment with one split of each dataset for all variants and seeds.

    Raises:
        MvcnError: Posts cannot be read.
    """
    if experiment.folds is not None:
        return experiment
    cells = cells_of(experiment)
    first = {name: next(cell for cell in cells if cell.data == name) for name in experiment.data}
    data = {name: _fixed(cell, experiment.variants.values()) for name, cell in first.items()}
    return replace(experiment, data=data)


def _fixed(cell: Cell, variants: Iterable[RunConfig]) -> DataConfig:
    """Return the settings of a dataset, with a seed of its split if dev posts must be drawn."""
    data = cell.config.data
    with naming(cell):
        posts = read_training_posts(data, SPLIT_SEED, lambda _: False)
    needs_dev = data.limit is not None or any(
        num_members(variant.training.members, len(posts.train)) == 1 for variant in variants
    )
    if posts.dev or not needs_dev or data.split_seed is not None:
        return data
    LOG.info(
        "Dataset '%s' names no dev posts: a tenth of its posts, drawn once with seed %d, is the "
        "dev split of all variants and seeds.",
        *(cell.data, SPLIT_SEED),
    )
    return data.model_copy(update={"split_seed": SPLIT_SEED})


def require_same_posts(
    cells: Sequence[Cell], found: Mapping[Path, CellResult], *, has_folds: bool
) -> None:
    """Refuse what `mvcn compare` would refuse after the training.

    Args:
        cells: All cells of an experiment.
        found: Path of a file -> the result in it, of all files in the folder of results.
        has_folds: Whether the experiment has folds.

    Raises:
        MvcnError: Posts cannot be read, variants would be evaluated on different posts, or a
            result is of other posts.
    """
    for path, result in found.items():
        if (result.fold is not None) != has_folds:
            raise RunError(
                f"{path} is of {'a fixed split' if has_folds else 'folds'}, unlike this "
                "experiment: give the experiment another name, or delete the file."
            )
    digests: dict[tuple[str, int | None], tuple[Cell, str]] = {}
    for cell, posts in _evaluated(cells):
        digest = fingerprint(posts)
        first, expected = digests.setdefault((cell.data, cell.fold), (cell, digest))
        if digest != expected:
            raise MvcnError(
                f"On '{cell.data}', variant '{cell.variant}' would be evaluated on other posts "
                f"than '{first.variant}', because one of them reads only texts or only images: "
                "leave out the posts without either, or one of the variants."
            )
    if all(cell.config.data.on_bad_image == "error" for cell in cells):  # else images decide, too
        _require_results_of(found, {key: digest for key, (_, digest) in digests.items()})


def _evaluated(cells: Sequence[Cell]) -> Iterable[tuple[Cell, Sequence[Post]]]:
    """Yield each cell that may differ from the others by its posts, and what it is evaluated on."""
    read: dict[tuple[str, int | None, int | str], TrainingPosts] = {}
    for cell in cells[: _per_seed(cells)]:
        key = (cell.data, cell.fold, cell.config.training.members)
        with naming(cell):
            if key not in read:
                read[key] = training_posts(cell.config)
        reads = system(cell.config.model.network).reads
        posts = read[key].dev or read[key].train
        yield cell, [post for post in posts if missing_input(post, reads) is None]


def _per_seed(cells: Sequence[Cell]) -> int:
    """Return the number of cells of the first seed; those of the others have the same posts."""
    return sum(cell.seed == cells[0].seed for cell in cells)


def _require_results_of(
    found: Mapping[Path, CellResult], digests: Mapping[tuple[str, int | None], str]
) -> None:
    for path, result in found.items():
        if result.posts_digest != digests.get((result.data, result.fold), result.posts_digest):
            raise RunError(
                f"{path} was evaluated on other posts ({count_of(len(result.labels), 'post')}) "
                "than the data has now: delete it to run the cell again, or give the experiment "
                "another name."
            )
