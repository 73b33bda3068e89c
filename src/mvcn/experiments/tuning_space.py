"""Where a search looks: settings and the values that they may take, from YAML."""

import json
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from mvcn.config import DataConfig, RunConfig, read_recipe
from mvcn.config_files import read_named
from mvcn.errors import ConfigError
from mvcn.experiments.grid import Cell, Experiment, cells_of, folds_of, seeds_of

KEYS = ("name", "recipe", "data", "seeds", "folds", "metric", "space")
SPAN_KEYS = {"low", "high", "log", "step"}
METRICS = {"f1_weighted": "weighted F1", "f1_macro": "macro F1", "accuracy": "accuracy"}
"""What a search can make high -> how it is called in sentences."""
MIN_CHOICES = 2
POSTS = "posts"


@dataclass(frozen=True, slots=True)
class Span:
    """All numbers from `low` to `high`; whole ones, where both are."""

    low: int | float
    high: int | float
    log: bool = False
    """Whether the logarithm is drawn evenly, not the number."""
    step: int | float | None = None
    """Distance of the numbers that are tried; None for all."""

    def to_mapping(self) -> dict[str, Any]:
        """Return what the file says."""
        return {"low": self.low, "high": self.high, "log": self.log, "step": self.step}


@dataclass(frozen=True, slots=True)
class Choices:
    """One of several values."""

    values: tuple[Any, ...]

    @property
    def labels(self) -> tuple[bool | int | float | str | None, ...]:
        """The values as a study can store them: mappings as JSON, paths as text."""
        return tuple(map(_label, self.values))

    def to_mapping(self) -> dict[str, Any]:
        """Return what the file says."""
        return {"choices": list(self.labels)}


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """A recipe, the settings of it to vary, and the trainings that judge a choice of them."""

    name: str
    start: RunConfig
    """All settings that are not searched, but those of the data and the seed."""
    data: DataConfig
    seeds: tuple[int, ...]
    folds: int | None
    """Folds of cross-validation over train and dev posts; None to train and judge as they are."""
    metric: str
    """One of `METRICS`; a trial's value is its mean over seeds and folds."""
    settings: Mapping[str, Span | Choices]
    """Setting as ``section.key`` -> where to look."""

    def config_of(self, values: Mapping[str, Any]) -> RunConfig:
        """Return all settings, with these values of the searched ones.

        Raises:
            ConfigError: The values do not fit each other.
        """
        return _with(self.start, values)

    def cells_of(self, row: str, config: RunConfig) -> list[Cell]:
        """Return the trainings whose mean judges the settings, one a seed and fold."""
        plan = Experiment(self.name, {POSTS: self.data}, {row: config}, self.seeds, self.folds)
        return cells_of(plan)


def read_space(name: str) -> SearchSpace:
    """Read a shipped search space by name, or a YAML file by path.

    The file has the keys ``name`` and ``space`` (setting as ``section.key`` -> ``low`` and
    ``high``, at will ``log`` and ``step``, or ``choices``), and at will ``recipe`` (all other
    settings; ``default``), ``data`` (settings of that section), ``seeds`` (``[0]``), ``folds`` and
    ``metric`` (``f1_weighted``).

    Raises:
        ConfigError: No such file, a key or setting that does not exist, or values that it cannot
            have.
    """
    return read_named("Search space", "recipes/spaces", name, _space)


def _space(content: Any) -> SearchSpace:
    if not isinstance(content, Mapping):
        raise ConfigError(f"it must be a mapping with the keys {', '.join(KEYS)}.")
    unknown, lacking = set(content) - set(KEYS), {"name", "space"} - set(content)
    if unknown or lacking:
        wrong = f"has the key '{min(map(str, unknown))}'" if unknown else f"lacks '{min(lacking)}'"
        raise ConfigError(f"it {wrong}, but its keys are {', '.join(KEYS)}.")
    start, data = read_recipe(str(content.get("recipe", "default"))), RunConfig()
    data.update({"data": content.get("data") or {}})
    space = SearchSpace(
        _name(content["name"]),
        start,
        data.data,
        seeds_of(content.get("seeds", [0])),
        folds_of(content.get("folds")),
        _metric(content.get("metric", "f1_weighted")),
        _settings(content["space"], start),
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


def _settings(content: Any, start: RunConfig) -> dict[str, Span | Choices]:
    if not isinstance(content, Mapping) or not content:
        raise ConfigError("'space' must name at least one setting, as in training.epochs.")
    return {str(name): _domain(str(name), values, start) for name, values in content.items()}


def _domain(name: str, content: Any, start: RunConfig) -> Span | Choices:
    _require_searchable(name, start)
    if not isinstance(content, Mapping) or not content:
        raise ConfigError(f"'{name}' needs low and high, or choices, not {content!r}.")
    if set(content) == {"choices"}:
        return _choices(name, content["choices"], start)
    unknown = sorted(map(str, set(content) - SPAN_KEYS))
    if unknown or not {"low", "high"} <= set(content):
        wrong = f"has the key '{unknown[0]}'" if unknown else "lacks low or high"
        raise ConfigError(
            f"'{name}' {wrong}: give low and high, at will log and step, or choices alone."
        )
    return _span(name, content, start)


def _require_searchable(name: str, start: RunConfig) -> None:
    section, dot, key = name.partition(".")
    if not dot:
        raise ConfigError(f"the setting '{name}' must look like section.key.")
    if section == "data" or name == "training.seed":
        raise ConfigError(f"'{name}' cannot be searched: name it in 'data' or 'seeds'.")
    if key not in typing.get_type_hints(type(getattr(start, section, None))):
        _with(start, {name: None})  # says what is meant


def _choices(name: str, content: Any, start: RunConfig) -> Choices:
    values = content if isinstance(content, list) else []
    choices = Choices(tuple(_fitting(name, value, start) for value in values))
    if len(set(choices.labels)) < max(MIN_CHOICES, len(values)):
        raise ConfigError(f"'{name}' needs a list of different choices, at least two.")
    return choices


def _span(name: str, content: Mapping[str, Any], start: RunConfig) -> Span:
    section, _, key = name.partition(".")
    kind = typing.get_type_hints(type(getattr(start, section)))[key]
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
    step = _step(name, content["step"], low, high) if "step" in content else None
    return Span(low, high, log, step)


def _step(name: str, value: Any, low: int | float, high: int | float) -> int | float:
    """Return the step as a number of the kind that `low` is."""
    kind = type(low)
    try:
        step = kind(value)
        fits = type(value) is not bool and math.isfinite(step) and step > 0 and step == float(value)
    except (TypeError, ValueError, OverflowError):
        fits = False
    if not fits:
        number = "a whole number" if kind is int else "a number"
        raise ConfigError(f"'{name}' has step {value!r}, which must be {number} above 0.")
    if (Decimal(str(high)) - Decimal(str(low))) % Decimal(str(step)):
        raise ConfigError(f"'{name}' has step {step}, which does not lead from {low} to {high}.")
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
