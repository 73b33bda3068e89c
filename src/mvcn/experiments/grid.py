"""An experiment: a grid of variants (settings) x data x seeds (x folds), and results of cells."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from mvcn.config import DataConfig, RunConfig, read_recipe
from mvcn.data.images import describe_images_of
from mvcn.data.near_duplicates import duplicate_groups
from mvcn.data.reading import read_dataset, read_training_posts
from mvcn.data.splits import MIN_FOLDS, SPLITS_FILE, k_folds, write_splits
from mvcn.errors import ConfigError, MvcnError
from mvcn.files import write_json
from mvcn.settings import read_named

KEYS = ("name", "recipe", "data", "seeds", "folds", "published_folds", "variants")
FORMER_VARIANT, FORMER_VARIANTS = "row", "rows"
"""Keys of a variant and of all variants in files of earlier versions."""
NUMBER_LISTS = ("labels", "predicted", "has_near_duplicate")
"""Stored as numbers separated by spaces, to take one line of the file instead of one per post."""
PROBABILITIES, DIGITS = "probabilities", 4
"""Stored in the same way, post by post, with so many digits behind the point."""
PUBLISHED = "published_folds"
"""Key of the number of published folds."""
DEV, TEST = "dev", "test"
FOLDS_SEED = 0
"""Folds are the same for every variant and seed, so that differences are paired."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """Variants to compare on the same data with the same seeds."""

    name: str
    """Also the name of the folders of results and runs."""
    data: Mapping[str, DataConfig]
    """Name -> where the posts are."""
    variants: Mapping[str, RunConfig]
    """Name -> all settings but data and seed."""
    seeds: tuple[int, ...]
    folds: int | None = None
    """Folds of cross-validation over train and dev posts; None to use the splits as they are."""
    published_folds: int | None = None
    """Published folds, from the first on, whose test posts evaluate; None for none."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One training of an experiment."""

    variant: str
    data: str
    seed: int
    fold: int | None
    config: RunConfig
    split: str = DEV
    """Split that it is evaluated on; see `CellResult.split`."""

    @property
    def path(self) -> Path:
        """Path of the cell's files in the folder of an experiment, without suffix."""
        name = f"seed-{self.seed}" if self.fold is None else f"seed-{self.seed}-fold-{self.fold}"
        return Path(self.data, self.variant, name)

    @property
    def without_export(self) -> RunConfig:
        """Its settings for a run that only its scores are wanted of."""
        config = self.config.model_copy(deep=True)
        config.training.export = False
        return config


@contextmanager
def naming(cell: Cell) -> Iterator[None]:
    """Prefix errors with the cell that they concern."""
    try:
        yield
    except MvcnError as error:
        raise type(error)(f"Cell {cell.path}: {error}") from error


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


def read_experiment(name: str) -> Experiment:
    """Read a shipped experiment by name, or a YAML file by path.

    The file has the keys ``name``, ``variants`` (name -> sections of settings as in a recipe, and
    optionally ``recipe``), ``seeds``, ``data`` (name -> settings of that section), and optionally
    ``recipe`` (where all variants start from; ``default``) and ``folds`` or ``published_folds``.

    Raises:
        ConfigError: No such file, or a key or setting that is unknown or missing.
    """
    return read_named("Experiment", "recipes/experiments", name, _experiment)


def cells_of(
    experiment: Experiment, folds: Mapping[str, Sequence[Path]] | None = None
) -> list[Cell]:
    """Return all cells by seed, so that an interrupted experiment has all variants of a seed.

    Args:
        experiment: What to train.
        folds: Name of data -> folder of each fold, as `assign_folds` returns them; None for
            settings without the ids of folds.
    """
    split = DEV if experiment.published_folds is None else TEST
    return [
        Cell(variant, data, seed, fold, _config(experiment, variant, data, seed, places), split)
        for seed in experiment.seeds
        for data in experiment.data
        for fold in _fold_numbers(experiment)
        for places in [_places(experiment, fold, None if folds is None else folds[data])]
        for variant in experiment.variants
    ]


def kind_of_posts(cell: Cell | CellResult) -> str:
    """Return what the posts of a cell are: results of different kinds do not compare."""
    if cell.split == TEST:
        return "published folds"
    return "a fixed split" if cell.fold is None else "folds"


def _fold_numbers(experiment: Experiment) -> Sequence[int | None]:
    if experiment.published_folds is not None:
        return range(1, experiment.published_folds + 1)
    return [None] if experiment.folds is None else range(experiment.folds)


def _places(
    experiment: Experiment, fold: int | None, folders: Sequence[Path] | None
) -> dict[str, Any]:
    """Return the settings of data by which a cell finds its fold."""
    if experiment.published_folds is not None:
        return {"fold": fold}
    return {} if fold is None or folders is None else {"splits": folders[fold]}


def assign_folds(data: DataConfig, folds: int, folder: Path) -> list[Path]:
    """Assign the train and dev posts to folds, unless done before, and return their folders.

    Near-duplicates by text or image are never in both train and dev of a fold.

    Raises:
        ConfigError: A setting of the data is missing, or it names a published fold.
        DataError: Posts cannot be read, or are too few.
    """
    if data.fold is not None:
        raise ConfigError(
            f"'folds' draws new folds, but data.fold chooses the published fold {data.fold}: leave "
            "one of them out."
        )
    folders = [folder / f"fold-{number}" for number in range(folds)]
    if all((path / SPLITS_FILE).is_file() for path in folders):
        return folders
    found = read_training_posts(data, FOLDS_SEED)
    posts = [*found.train, *found.dev]
    groups = duplicate_groups([post.text for post in posts], describe_images_of(posts))
    everything = read_dataset(data, data.root).posts
    about = {"seed": FOLDS_SEED, "folds": folds, "duplicates": "kept together"}
    for path, splits in zip(folders, k_folds(posts, folds, FOLDS_SEED, groups), strict=True):
        write_splits(path, splits, everything, about, overwrite=True)
    return folders


def settings_of(config: RunConfig) -> dict[str, dict[str, Any]]:
    """Return the settings of a variant: all but those of the data and the seed."""
    mapping = config.to_mapping()
    del mapping["data"], mapping["training"]["seed"]
    return mapping


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


def checked_keys(content: Any, keys: Sequence[str], required: set[str]) -> Mapping[str, Any]:
    """Return the content of a file, or raise a ConfigError if a key is unknown or missing."""
    if not isinstance(content, Mapping):
        raise ConfigError(f"it must be a mapping with the keys {', '.join(keys)}.")
    unknown, missing = set(content) - set(keys), required - set(content)
    if unknown or missing:
        wrong = f"has the key '{min(map(str, unknown))}'" if unknown else f"needs '{min(missing)}'"
        raise ConfigError(f"it {wrong}, but its keys are {', '.join(keys)}.")
    return content


def data_of(values: Any) -> DataConfig:
    """Return settings of data from a file, or raise a ConfigError."""
    return RunConfig.from_mapping({"data": {} if values is None else values}).data


def seeds_of(value: Any) -> tuple[int, ...]:
    """Return seeds from a file, or raise a ConfigError."""
    seeds = value if isinstance(value, list) else []
    if not seeds or any(type(seed) is not int for seed in seeds) or len(set(seeds)) < len(seeds):
        raise ConfigError(f"'seeds' must be a list of different whole numbers, not {value!r}.")
    return tuple(seeds)


def folds_of(value: Any, key: str = "folds") -> int | None:
    """Return the number of folds from a file, or raise a ConfigError."""
    if value is not None and (type(value) is not int or value < MIN_FOLDS):
        raise ConfigError(f"'{key}' must be a whole number of at least {MIN_FOLDS}, not {value!r}.")
    return value


def _config(
    experiment: Experiment, variant: str, data: str, seed: int, places: Mapping[str, Any]
) -> RunConfig:
    config = RunConfig.from_mapping(settings_of(experiment.variants[variant]))
    config.data = experiment.data[data].model_copy(update=places)
    config.update({"training": {"seed": seed}})
    return config


def _experiment(content: Any) -> Experiment:
    if isinstance(content, Mapping) and "variants" not in content:
        content = {"variants" if key == FORMER_VARIANTS else key: content[key] for key in content}
    content = checked_keys(content, KEYS, {"name", "variants", "seeds", "data"})
    recipe = content.get("recipe", "default")
    variants = {
        _name(name): _variant(values, recipe) for name, values in _named(content, "variants")
    }
    _require_different(variants)
    experiment = Experiment(
        _name(content["name"]),
        {_name(name): data_of(values) for name, values in _named(content, "data")},
        variants,
        seeds_of(content["seeds"]),
        folds_of(content.get("folds")),
        folds_of(content.get(PUBLISHED), PUBLISHED),
    )
    _require_one_kind_of_folds(experiment)
    return experiment


def _require_one_kind_of_folds(experiment: Experiment) -> None:
    if experiment.published_folds is None:
        return
    if experiment.folds is not None:
        raise ConfigError(f"it has both 'folds' and '{PUBLISHED}': leave one of them out.")
    for name, data in experiment.data.items():
        if data.fold is not None:
            raise ConfigError(
                f"it has '{PUBLISHED}', but its data '{name}' chooses fold {data.fold}: leave one "
                "of them out."
            )


def _named(content: Mapping[str, Any], key: str) -> Sequence[tuple[Any, Any]]:
    value = content[key]
    if not isinstance(value, Mapping) or not value:
        raise ConfigError(f"'{key}' must have at least one name with its settings below it.")
    return list(value.items())


def _name(name: Any) -> str:
    if not isinstance(name, str) or not name.replace("-", "").replace("_", "").isalnum():
        raise ConfigError(
            f"the name {name!r} is used for a folder: use only letters, digits, '-' and '_'."
        )
    return name


def _variant(values: Any, recipe: Any) -> RunConfig:
    if not isinstance(values, Mapping | None):
        raise ConfigError(
            f"a variant must consist of sections such as 'model:', but one is {values!r}."
        )
    sections = dict(values or {})
    config = read_recipe(str(sections.pop("recipe", recipe)))
    if "data" in sections:
        raise ConfigError("a variant cannot have 'data': move it to 'data' of the experiment.")
    config.update(sections)
    return config


def _require_different(variants: Mapping[str, RunConfig]) -> None:
    for (first, one), (second, other) in combinations(variants.items(), 2):
        if settings_of(one) == settings_of(other):
            raise ConfigError(
                f"the variants '{first}' and '{second}' have the same settings: remove one, or "
                "change a setting of it."
            )
