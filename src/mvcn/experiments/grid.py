"""An experiment: a grid of variants (settings) x data x seeds (x folds)."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from mvcn.config import DataConfig, RunConfig, read_recipe
from mvcn.data.images import describe_images_of
from mvcn.data.near_duplicates import duplicate_groups
from mvcn.data.reading import read_dataset, read_training_posts
from mvcn.data.splits import MIN_FOLDS, SPLITS_FILE, k_folds, write_splits
from mvcn.errors import ConfigError, MvcnError, which_of
from mvcn.models.registry import settings_of_model
from mvcn.plugins import available, use_plugins
from mvcn.settings import read_named
from mvcn.training.checks import check_compatibility

KEYS = ("name", "recipe", "data", "seeds", "folds", "published_folds", "variants")
FORMER_VARIANT, FORMER_VARIANTS = "row", "rows"
"""Keys of a variant and of all variants in files of earlier versions."""
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


def part_of(
    cells: Sequence[Cell], variants: Sequence[str] = (), seeds: Sequence[int] = ()
) -> list[Cell]:
    """Return the cells of some variants and seeds; none means all.

    Raises:
        ConfigError: There is no such variant or seed.
    """
    for kind, chosen in (("variant", variants), ("seed", seeds)):
        known = list(dict.fromkeys(getattr(cell, kind) for cell in cells))
        for one in chosen:
            if one not in known:
                raise ConfigError(
                    f"--{kind} {one} is not in the experiment: {which_of(str(one), known)}"
                )
    return [
        cell
        for cell in cells
        if cell.variant in (variants or (cell.variant,)) and cell.seed in (seeds or (cell.seed,))
    ]


def check_settings(experiment: Experiment) -> None:
    """Raise a ConfigError if a cell could not be trained, before hours of training."""
    for cell in cells_of(experiment):
        with naming(cell):
            use_plugins(cell.config.training.plugins)
            check_compatibility(cell.config)


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


def checked_keys(content: Any, keys: Sequence[str], required: set[str]) -> Mapping[str, Any]:
    """Return the content of a file, or raise a ConfigError if a key is unknown or missing."""
    if not isinstance(content, Mapping):
        raise ConfigError(f"it must be a mapping with the keys {', '.join(keys)}.")
    unknown, missing = set(content) - set(keys), required - set(content)
    if unknown or missing:
        wrong = f"has the key '{min(map(str, unknown))}'" if unknown else f"has no '{min(missing)}'"
        raise ConfigError(f"it {wrong}: its keys can be {', '.join(keys)}.")
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
        _name(name): _variant(name, values, recipe) for name, values in _named(content, "variants")
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


def _variant(name: str, values: Any, recipe: Any) -> RunConfig:
    """Return the settings of a variant, which starts from a recipe or from a plug-in's model."""
    if not isinstance(values, Mapping | None):
        raise ConfigError(
            f"a variant must consist of sections such as 'model:', but '{name}' is {values!r}."
        )
    sections = dict(values or {})
    if "data" in sections:
        raise ConfigError(
            f"variant '{name}' cannot have 'data': move it to 'data' of the experiment."
        )
    try:
        config = _start(str(sections.pop("recipe", recipe)), sections)
        config.update(sections)
    except ConfigError as error:
        raise ConfigError(f"variant '{name}': {error}") from error
    return config


def _start(recipe: str, sections: Mapping[str, Any]) -> RunConfig:
    training = sections.get("training")
    named = training.get("plugins") if isinstance(training, Mapping) else None
    use_plugins(named if isinstance(named, list) else [])
    is_plugged_in = any(one.name == recipe for one in available("model"))
    return settings_of_model(recipe) if is_plugged_in else read_recipe(recipe)


def _require_different(variants: Mapping[str, RunConfig]) -> None:
    for (first, one), (second, other) in combinations(variants.items(), 2):
        if settings_of(one) == settings_of(other):
            raise ConfigError(
                f"the variants '{first}' and '{second}' have the same settings: remove one, or "
                "change a setting of it."
            )
