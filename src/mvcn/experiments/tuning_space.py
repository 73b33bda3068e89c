"""Where a search looks: settings and the values that they may take, from YAML."""

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvcn.config import DataConfig, RunConfig, read_recipe
from mvcn.errors import ConfigError
from mvcn.experiments.grid import (
    Cell,
    Experiment,
    cells_of,
    checked_keys,
    data_of,
    folds_of,
    seeds_of,
)
from mvcn.settings import Settings, read_named

KEYS = ("name", "recipe", "data", "seeds", "folds", "metric", "space")
SPAN_KEYS = {"low", "high", "log", "step"}
METRICS = ("f1_weighted", "f1_macro", "accuracy")
"""What a search can maximize."""
MIN_CHOICES = 2
POSTS = "posts"


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """A recipe, the settings of it to vary, and the trainings that evaluate a choice of them."""

    name: str
    start: RunConfig
    """All settings that are not searched, but those of the data and the seed."""
    data: DataConfig
    seeds: tuple[int, ...]
    folds: int | None
    """Folds of cross-validation over train and dev posts; None to use the splits as they are."""
    metric: str
    """One of `METRICS`; a trial's value is its mean over seeds and folds."""
    settings: Mapping[str, Any]
    """Setting as ``section.key`` -> distribution of optuna."""
    choices: Mapping[str, Mapping[Any, Any]]
    """Setting -> choice as a study stores it (mappings as JSON, paths as text) -> its value."""

    def value_of(self, name: str, stored: Any) -> Any:
        """Return the value of a setting that a study stores in this way."""
        return self.choices.get(name, {}).get(stored, stored)

    def config_of(self, values: Mapping[str, Any]) -> RunConfig:
        """Return all settings, with these values of the searched ones.

        Raises:
            ConfigError: The values do not fit each other.
        """
        return _with(self.start, values)

    def cells_of(self, variant: str, config: RunConfig, folds: Sequence[Path] = ()) -> list[Cell]:
        """Return the trainings whose mean evaluates the settings, one a seed and fold.

        Args:
            variant: What the settings are called.
            config: The settings.
            folds: Folder of each fold; without any, the settings of folds have no ids yet.
        """
        plan = Experiment(self.name, {POSTS: self.data}, {variant: config}, self.seeds, self.folds)
        return cells_of(plan, {POSTS: folds} if folds else None)


def load_optuna() -> Any:
    """Import optuna, which is an extra, and keep it silent.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise ConfigError("mvcn tune needs optuna: pip install 'mvcn[tune]'.") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def read_space(name: str) -> SearchSpace:
    """Read a shipped search space by name, or a YAML file by path.

    The file has the keys ``name`` and ``space`` (setting as ``section.key`` -> ``low`` and
    ``high``, optionally ``log`` and ``step``, or ``choices``), and optionally ``recipe`` (all other
    settings; ``default``), ``data`` (settings of that section), ``seeds`` (``[0]``), ``folds`` and
    ``metric`` (``f1_weighted``).

    Raises:
        ConfigError: No such file, a key or setting that does not exist, values that it cannot
            have, or optuna is not installed.
    """
    return read_named("Search space", "recipes/spaces", name, _space)


def _space(content: Any) -> SearchSpace:
    content = checked_keys(content, KEYS, {"name", "space"})
    start = read_recipe(str(content.get("recipe", "default")))
    domains = content["space"]
    if not isinstance(domains, Mapping) or not domains:
        raise ConfigError("'space' must name at least one setting, as in training.epochs.")
    settings: dict[str, Any] = {}
    choices: dict[str, dict[Any, Any]] = {}
    for given, values in domains.items():
        name = _searchable(str(given), start)
        if name in settings:
            raise ConfigError(f"'{name}' is given twice, once by its earlier name.")
        settings[name] = _domain(name, values, start, choices)
    space = SearchSpace(
        _name(content["name"]),
        start,
        data_of(content.get("data") or {}),
        seeds_of(content.get("seeds", [0])),
        folds_of(content.get("folds")),
        _metric(content.get("metric", "f1_weighted")),
        settings,
        choices,
    )
    space.cells_of("start", start)  # refuses seeds out of range
    return space


def _name(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"'name' must be text, not {value!r}.")
    return value


def _metric(value: Any) -> str:
    if not isinstance(value, str) or value not in METRICS:
        raise ConfigError(f"'metric' must be one of {', '.join(METRICS)}, not {value!r}.")
    return value


def _domain(name: str, content: Any, start: RunConfig, choices: dict[str, dict[Any, Any]]) -> Any:
    """Return the distribution of a setting; add its choices, where it has some."""
    if not isinstance(content, Mapping) or not content:
        raise ConfigError(f"'{name}' needs low and high, or choices, not {content!r}.")
    if set(content) == {"choices"}:
        choices[name] = _choices(name, content["choices"], start)
        return load_optuna().distributions.CategoricalDistribution(tuple(choices[name]))
    unknown = sorted(map(str, set(content) - SPAN_KEYS))
    if unknown or not {"low", "high"} <= set(content):
        wrong = f"has the key '{unknown[0]}'" if unknown else "needs low and high"
        raise ConfigError(
            f"'{name}' {wrong}: give low and high, optionally log or step, or choices alone."
        )
    return _span(name, content, start)


def _searchable(name: str, start: RunConfig) -> str:
    """Return the present name of a setting, or raise a ConfigError if it cannot be searched."""
    section, dot, key = name.partition(".")
    if not dot:
        raise ConfigError(f"the setting '{name}' must look like section.key.")
    if section == "data" or name == "training.seed":
        raise ConfigError(f"'{name}' cannot be searched: name it in 'data' or 'seeds'.")
    kind = type(getattr(start, section)) if section in RunConfig.model_fields else Settings
    key = kind.earlier_names.get(key, key)
    if key not in kind.model_fields:
        _with(start, {name: None})  # says what is meant
    return f"{section}.{key}"


def _choices(name: str, content: Any, start: RunConfig) -> dict[Any, Any]:
    """Return the choices as a study stores them -> as the setting has them."""
    given = content if isinstance(content, list) else []
    values = [_fitting(name, value, start) for value in given]
    choices = {_label(value): value for value in values}
    if len(choices) < max(MIN_CHOICES, len(values)):
        raise ConfigError(f"'{name}' needs a list of different choices, at least two.")
    return choices


def _span(name: str, content: Mapping[str, Any], start: RunConfig) -> Any:
    section, _, key = name.partition(".")
    kind = type(getattr(start, section)).model_fields[key].annotation
    if kind not in (int, float):
        raise ConfigError(f"'{name}' is no number: give its choices, not low and high.")
    low, high = (_fitting(name, content[end], start) for end in ("low", "high"))
    if low >= high:
        raise ConfigError(f"'{name}' has low {low}, which must be below high, {high}.")
    log = content.get("log", False)
    if type(log) is not bool:
        raise ConfigError(f"'{name}' has log {log!r}, which must be true or false.")
    if log and low <= 0:
        raise ConfigError(f"'{name}' has log and low {low}, which must then be above 0.")
    if log and "step" in content:
        raise ConfigError(f"'{name}' has log and step: choose one of them.")
    step = _step(name, content["step"], kind) if "step" in content else None
    kinds = load_optuna().distributions
    with warnings.catch_warnings(action="ignore"):  # of a step that does not lead to the end
        if kind is int:
            found = kinds.IntDistribution(low, high, log, 1 if step is None else step)
        else:
            found = kinds.FloatDistribution(low, high, log, step)
    if found.high != high:
        raise ConfigError(f"'{name}' has step {step}, which does not lead from {low} to {high}.")
    return found


def _step(name: str, value: Any, kind: type[int] | type[float]) -> int | float:
    """Return the step as a number of the setting's kind."""
    try:
        step = kind(value)
        fits = type(value) is not bool and math.isfinite(step) and step > 0 and step == float(value)
    except (TypeError, ValueError, OverflowError):
        fits = False
    if not fits:
        number = "a whole number" if kind is int else "a number"
        raise ConfigError(f"'{name}' has step {value!r}, which must be {number} above 0.")
    return step


def _fitting(name: str, value: Any, start: RunConfig) -> Any:
    """Return the value as the setting has it, or raise a ConfigError."""
    section, _, key = name.partition(".")
    return getattr(getattr(_with(start, {name: value}), section), key)


def _with(start: RunConfig, values: Mapping[str, Any]) -> RunConfig:
    """Return a copy in which settings named as ``section.key`` have these values."""
    sections: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        section, _, key = name.partition(".")
        sections.setdefault(section, {})[key] = value
    config = start.model_copy()
    config.update(sections)
    return config


def _label(value: Any) -> bool | int | float | str | None:
    if isinstance(value, Mapping):
        return json.dumps(value, sort_keys=True)
    return str(value) if isinstance(value, Path) else value
