"""All cells of a dataset are evaluated on the same posts, or nothing is trained."""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mvcn.config import DataConfig, RunConfig
from mvcn.data.bad_images import missing_input, require_images
from mvcn.data.posts import fingerprint
from mvcn.data.reading import learnable_posts, read_posts, read_training_posts
from mvcn.errors import MvcnError, RunError, count_of
from mvcn.experiments.grid import TEST, Cell, Experiment, cells_of, naming
from mvcn.experiments.results import CellResult, kind_of_posts
from mvcn.models.registry import system
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
    if experiment.folds is not None or experiment.published_folds is not None:
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
        variant.training.num_members(len(posts.train)) == 1 for variant in variants
    )
    if posts.dev or not needs_dev or data.split_seed is not None:
        return data
    LOG.info(
        "Dataset '%s' names no dev posts: a tenth of its posts, drawn once with seed %d, is the "
        "dev split of all variants and seeds.",
        *(cell.data, SPLIT_SEED),
    )
    return data.model_copy(update={"split_seed": SPLIT_SEED})


def read_test_posts(data: DataConfig) -> list[Post]:
    """Read the test posts that have a label and content.

    Raises:
        MvcnError: Posts cannot be read.
    """
    return learnable_posts(read_posts(data, TEST).posts)


def require_same_posts(cells: Sequence[Cell], found: Mapping[Path, CellResult]) -> None:
    """Refuse what `mvcn compare` would refuse after the training.

    Args:
        cells: All cells of an experiment.
        found: Path of a file -> the result in it, of all files in the folder of results.

    Raises:
        MvcnError: Posts cannot be read, variants would be evaluated on different posts, or a
            result is of other posts.
    """
    for path, result in found.items():
        if (kind := kind_of_posts(result)) != kind_of_posts(cells[0]):
            raise RunError(
                f"{path} belongs to {kind}, unlike this experiment: rename the experiment, or "
                "delete the file."
            )
    digests: dict[tuple[str, int | None], tuple[Cell, str]] = {}
    evaluated: dict[str, Counter[str]] = defaultdict(Counter)
    for cell, posts in _evaluated(cells):
        digest = fingerprint(posts)
        first, expected = digests.setdefault((cell.data, cell.fold), (cell, digest))
        if digest != expected:
            raise MvcnError(
                f"On '{cell.data}', variant '{cell.variant}' would be evaluated on other posts "
                f"than '{first.variant}', because one of them reads only texts or only images: "
                "leave out the posts that lack a text or an image, or one of the variants."
            )
        if cell is first:
            evaluated[cell.data].update(post.id for post in posts)
    _warn_of_repeated(evaluated)
    if all(cell.config.data.on_bad_image == "error" for cell in cells):  # else images decide, too
        _require_results_of(found, {key: digest for key, (_, digest) in digests.items()})


def _evaluated(cells: Sequence[Cell]) -> Iterable[tuple[Cell, Sequence[Post]]]:
    """Yield each cell that may differ from the others by its posts, and what it is evaluated on."""
    read: dict[tuple[str, int | None, int | str | None], Sequence[Post]] = {}
    for cell in cells[: _per_seed(cells)]:
        members = None if cell.split == TEST else cell.config.training.members
        key = (cell.data, cell.fold, members)
        with naming(cell):
            if key not in read:
                read[key] = _posts_of(cell)
            reads = system(cell.config.model.network).reads
            if cell.split == TEST and "image" in reads:  # which the training would not check
                require_images(read[key], cell.config.data.on_bad_image)
        yield cell, [post for post in read[key] if missing_input(post, reads) is None]


def _posts_of(cell: Cell) -> Sequence[Post]:
    if cell.split == TEST:
        return read_test_posts(cell.config.data)
    posts = training_posts(cell.config)
    return posts.dev or posts.train


def _warn_of_repeated(evaluated: Mapping[str, Counter[str]]) -> None:
    """Warn of posts that published folds evaluate twice.

    Args:
        evaluated: Name of data -> id of a post -> number of folds that evaluate it.
    """
    for data, counts in evaluated.items():
        if several := sum(number > 1 for number in counts.values()):
            LOG.warning(
                "On '%s', %s evaluated in several folds, so that intervals and p-values over posts "
                "are too small.",
                *(data, count_of(several, "post is", "posts are")),
            )


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
                "than the data has now: delete it to run the cell again, or rename the experiment."
            )
