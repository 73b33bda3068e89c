"""What an experiment trains: a grid of rows (settings) x data x seeds, or x folds, from YAML."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from mvcn.config import DataConfig, RunConfig, read_recipe
from mvcn.config_files import read_named
from mvcn.errors import ConfigError

MIN_FOLDS = 2
KEYS = ("name", "recipe", "data", "seeds", "folds", "rows")
DECIDED_BY_GRID = ("data", "seed")


@dataclass(frozen=True, slots=True)
class Experiment:
    """Rows to compare on the same data with the same seeds."""

    name: str
    """Names the folders of results and runs, too."""
    data: Mapping[str, DataConfig]
    """Name -> where the posts are."""
    rows: Mapping[str, RunConfig]
    """Name -> all settings but data and seed."""
    seeds: tuple[int, ...]
    folds: int | None = None
    """Folds of cross-validation over train and dev posts; None to train and judge as they are."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One training of an experiment."""

    row: str
    data: str
    seed: int
    fold: int | None
    config: RunConfig
    """All settings; for a fold, the ids in `data.splits` are still to be dealt out."""

    @property
    def path(self) -> Path:
        """Where the cell's files are, within the folder of an experiment, less their ending."""
        part = f"seed-{self.seed}" if self.fold is None else f"seed-{self.seed}-fold-{self.fold}"
        return Path(self.data, self.row, part)


def read_experiment(name: str) -> Experiment:
    """Read a shipped experiment by name, or a YAML file by path.

    The file has the keys ``name``, ``rows`` (name -> sections of settings as in a recipe, and at
    will ``recipe``), ``seeds``, ``data`` (name -> settings of that section), and at will
    ``recipe`` (where all rows start from; ``default``) and ``folds``.

    Raises:
        ConfigError: No such file, a key or setting that does not exist, or one that lacks.
    """
    return read_named("Experiment", "recipes/experiments", name, _experiment)


def cells_of(experiment: Experiment) -> list[Cell]:
    """Return all cells, seed by seed: whenever the work is cut, all rows have got as far."""
    folds = [None] if experiment.folds is None else range(experiment.folds)
    return [
        Cell(row, data, seed, fold, _config(experiment, row, data, seed))
        for seed in experiment.seeds
        for data in experiment.data
        for fold in folds
        for row in experiment.rows
    ]


def settings_of(config: RunConfig) -> dict[str, dict[str, Any]]:
    """Return the settings that make a row: all but those of the data, and the seed."""
    mapping = config.to_mapping()
    del mapping["data"], mapping["training"]["seed"]
    return mapping


def with_splits(config: RunConfig, splits: Path) -> RunConfig:
    """Return the settings of a cell whose train and dev posts are listed in a folder."""
    data = config.data.model_copy(update={"splits": splits})
    return config.model_copy(update={"data": data})


def _config(experiment: Experiment, row: str, data: str, seed: int) -> RunConfig:
    config = RunConfig.from_mapping(settings_of(experiment.rows[row]))
    config.data = experiment.data[data]
    config.update({"training": {"seed": seed}})
    return config


def _experiment(content: Any) -> Experiment:
    if not isinstance(content, Mapping):
        raise ConfigError(f"it must be a mapping with the keys {', '.join(KEYS)}.")
    unknown, lacking = set(content) - set(KEYS), {"name", "rows", "seeds", "data"} - set(content)
    if unknown or lacking:
        wrong = f"has the key '{min(map(str, unknown))}'" if unknown else f"lacks '{min(lacking)}'"
        raise ConfigError(f"it {wrong}, but its keys are {', '.join(KEYS)}.")
    recipe = content.get("recipe", "default")
    rows = {_name(name): _row(values, recipe) for name, values in _named(content, "rows").items()}
    _require_different(rows)
    return Experiment(
        _name(content["name"]),
        {_name(name): _data(values) for name, values in _named(content, "data").items()},
        rows,
        seeds_of(content["seeds"]),
        folds_of(content.get("folds")),
    )


def _named(content: Mapping[str, Any], key: str) -> Mapping[Any, Any]:
    value = content[key]
    if not isinstance(value, Mapping) or not value:
        raise ConfigError(f"'{key}' must name at least one, each with its settings below it.")
    return value


def _name(name: Any) -> str:
    if not isinstance(name, str) or not name.replace("-", "").replace("_", "").isalnum():
        raise ConfigError(
            f"the name {name!r} would become a folder: use letters, digits, '-' and '_'."
        )
    return name


def _data(values: Any) -> DataConfig:
    config = RunConfig()
    config.update({"data": {} if values is None else values})
    return config.data


def _row(values: Any, recipe: Any) -> RunConfig:
    if not isinstance(values, Mapping | None):
        raise ConfigError(f"a row must hold sections like 'model:', but one is {values!r}.")
    sections = dict(values or {})
    config = read_recipe(str(sections.pop("recipe", recipe)))
    if "data" in sections:
        raise ConfigError("a row cannot have data of its own: name it in 'data' of the experiment.")
    config.update(sections)
    return config


def _require_different(rows: Mapping[str, RunConfig]) -> None:
    for (first, one), (second, other) in combinations(rows.items(), 2):
        if settings_of(one) == settings_of(other):
            raise ConfigError(
                f"the rows '{first}' and '{second}' have the same settings: take one away, or "
                "look for the setting that the recipe gives both of them."
            )


def seeds_of(value: Any) -> tuple[int, ...]:
    """Return the seeds that a file gives, or raise a ConfigError."""
    seeds = value if isinstance(value, list) else []
    if not seeds or any(type(seed) is not int for seed in seeds) or len(set(seeds)) < len(seeds):
        raise ConfigError(f"'seeds' must be a list of different whole numbers, not {value!r}.")
    return tuple(seeds)


def folds_of(value: Any) -> int | None:
    """Return the number of folds that a file gives, or raise a ConfigError."""
    if value is not None and (type(value) is not int or value < MIN_FOLDS):
        raise ConfigError(f"'folds' must be a whole number from {MIN_FOLDS} on, not {value!r}.")
    return value
