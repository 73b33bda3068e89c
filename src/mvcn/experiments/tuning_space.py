"""The search space of a search, from YAML, and what it writes: trials and the best recipe."""

import csv
import json
import math
import shlex
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from mvcn.config import DataConfig, RunConfig, read_recipe
from mvcn.errors import ConfigError, needs_extra
from mvcn.evaluation.metrics import METRIC_TITLES
from mvcn.experiments.grid import (
    Cell,
    Experiment,
    cells_of,
    checked_keys,
    data_of,
    folds_of,
    seeds_of,
    settings_of,
)
from mvcn.files import atomic_write
from mvcn.settings import Settings, read_named

KEYS = ("name", "recipe", "data", "seeds", "folds", "metric", "space")
SPAN_KEYS = {"low", "high", "log", "step"}
METRICS = ("f1_weighted", "f1_macro", "accuracy")
"""What a search can maximize."""
MIN_CHOICES = 2
POSTS = "posts"
WIDTH = 98
"""Of the comments of a recipe, in characters."""
OPTIMISTIC = (
    "The settings were chosen by the score on these dev posts, so it is optimistic: evaluate them "
    "on other posts."
)


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """A recipe, the settings to vary, and the data and seeds on which each choice is evaluated."""

    name: str
    start: RunConfig
    """All settings but those of the data and the seed, before any is searched."""
    data: DataConfig
    seeds: tuple[int, ...]
    folds: int | None
    """Folds of cross-validation over train and dev posts; None to use the splits as they are."""
    metric: str
    """One of `METRICS`; a trial's value is its mean over seeds and folds."""
    settings: Mapping[str, Any]
    """Setting as ``section.key`` -> Optuna distribution."""
    choices: Mapping[str, Mapping[Any, Any]]
    """Setting -> choice as the study stores it (mappings as JSON, paths as text) -> its value."""

    def value_of(self, name: str, stored: Any) -> Any:
        """Return the value of a setting from what the study stores."""
        return self.choices.get(name, {}).get(stored, stored)

    def config_of(self, values: Mapping[str, Any]) -> RunConfig:
        """Return all settings, with the given values of the searched ones.

        Raises:
            ConfigError: The values are incompatible.
        """
        return _with(self.start, values)

    def cells_of(self, variant: str, config: RunConfig, folds: Sequence[Path] = ()) -> list[Cell]:
        """Return the trainings that evaluate a choice of settings, one per seed and fold.

        Args:
            variant: Name of the choice.
            config: The settings.
            folds: Folder of each fold; if empty, the settings of folds have no ids yet.
        """
        plan = Experiment(self.name, {POSTS: self.data}, {variant: config}, self.seeds, self.folds)
        return cells_of(plan, {POSTS: folds} if folds else None)


def load_optuna() -> Any:
    """Import Optuna, an optional dependency, with logging of errors only.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise needs_extra("mvcn tune", "tune") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def read_space(name: str) -> SearchSpace:
    """Read a shipped search space by name, or a YAML file by path.

    The file has the keys ``name`` and ``space`` (setting as ``section.key`` -> ``low`` and
    ``high``, optionally ``log`` and ``step``, or ``choices``), and optionally ``recipe`` (all other
    settings; ``default``), ``data`` (settings of that section), ``seeds`` (``[0]``), ``folds`` and
    ``metric`` (``f1_weighted``).

    Raises:
        ConfigError: The file does not exist, a key, setting or value is invalid, or Optuna is not
            installed.
    """
    return read_named("Search space", "recipes/spaces", name, _space)


def _space(content: Any) -> SearchSpace:
    content = checked_keys(content, KEYS, {"name", "space"})
    start = read_recipe(str(content.get("recipe", "default")))
    domains = content["space"]
    if not isinstance(domains, Mapping) or not domains:
        raise ConfigError("'space' must have at least one setting, such as training.epochs.")
    settings, choices = _domains(domains, start)
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
    space.cells_of("start", start)  # raises for seeds out of range
    return space


def _domains(
    domains: Mapping[Any, Any], start: RunConfig
) -> tuple[dict[str, Any], dict[str, dict[Any, Any]]]:
    """Return the distribution of each setting, and the choices of those that have choices."""
    settings: dict[str, Any] = {}
    choices: dict[str, dict[Any, Any]] = {}
    for given, values in domains.items():
        name = _searchable(str(given), start)
        if name in settings:
            raise ConfigError(
                f"'{name}' is there twice, once under its earlier name: remove one of them."
            )
        settings[name] = _domain(name, values, start, choices)
    return settings, choices


def _name(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"'name' must be text, not {value!r}.")
    return value


def _metric(value: Any) -> str:
    if not isinstance(value, str) or value not in METRICS:
        raise ConfigError(f"'metric' must be one of {', '.join(METRICS)}, not {value!r}.")
    return value


def _domain(name: str, content: Any, start: RunConfig, choices: dict[str, dict[Any, Any]]) -> Any:
    """Return the distribution of a setting, and add its choices, if any, to `choices`."""
    if not isinstance(content, Mapping) or not content:
        raise ConfigError(f"'{name}' needs low and high, or choices, not {content!r}.")
    if set(content) == {"choices"}:
        choices[name] = _choices(name, content["choices"], start)
        return load_optuna().distributions.CategoricalDistribution(tuple(choices[name]))
    unknown = sorted(map(str, set(content) - SPAN_KEYS))
    if unknown or not {"low", "high"} <= set(content):
        wrong = f"has the key '{unknown[0]}'" if unknown else "needs low and high"
        raise ConfigError(
            f"'{name}' {wrong}: use low and high, optionally with log or step, or only choices."
        )
    return _span(name, content, start)


def _searchable(name: str, start: RunConfig) -> str:
    """Return the current name of a setting, or raise a ConfigError if it cannot be searched."""
    section, dot, key = name.partition(".")
    if not dot:
        raise ConfigError(f"the setting '{name}' must look like training.epochs.")
    if section == "data" or name == "training.seed":
        raise ConfigError(f"'{name}' cannot be searched: move it to 'data' or 'seeds'.")
    kind = type(getattr(start, section)) if section in RunConfig.model_fields else Settings
    key = kind.earlier_names.get(key, key)
    if key not in kind.model_fields:
        _with(start, {name: None})  # raises, with a suggestion
    return f"{section}.{key}"


def _choices(name: str, content: Any, start: RunConfig) -> dict[Any, Any]:
    """Return each choice as a study stores it -> its value."""
    given = content if isinstance(content, list) else []
    values = [_fitting(name, value, start) for value in given]
    choices = {_label(value): value for value in values}
    if len(choices) < max(MIN_CHOICES, len(values)):
        raise ConfigError(f"'{name}' needs a list of at least two different choices.")
    return choices


def _span(name: str, content: Mapping[str, Any], start: RunConfig) -> Any:
    section, _, key = name.partition(".")
    kind = type(getattr(start, section)).model_fields[key].annotation
    if kind not in (int, float):
        raise ConfigError(f"'{name}' is not a number: use choices, not low and high.")
    low, high = (_fitting(name, content[end], start) for end in ("low", "high"))
    if low >= high:
        raise ConfigError(f"'{name}' has low {low}, which must be below its high, {high}.")
    log = _log(name, content, low)
    step = _step(name, content["step"], kind) if "step" in content else None
    kinds = load_optuna().distributions
    with warnings.catch_warnings(action="ignore"):  # of a range that is not a multiple of the step
        if kind is int:
            found = kinds.IntDistribution(low, high, log, 1 if step is None else step)
        else:
            found = kinds.FloatDistribution(low, high, log, step)
    if found.high != high:
        raise ConfigError(
            f"'{name}' has step {step}, which does not divide the range from {low} to {high}: "
            "change it."
        )
    return found


def _log(name: str, content: Mapping[str, Any], low: int | float) -> bool:
    log = content.get("log", False)
    if type(log) is not bool:
        raise ConfigError(f"'{name}' has log {log!r}, which must be true or false.")
    if log and low <= 0:
        raise ConfigError(f"'{name}' has log, so its low must be above 0, not {low}.")
    if log and "step" in content:
        raise ConfigError(f"'{name}' has both log and step: leave one of them out.")
    return log


def _step(name: str, value: Any, kind: type[int] | type[float]) -> int | float:
    """Return the step as a number of the type of the setting."""
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
    """Return the value after validation by the setting, or raise a ConfigError."""
    section, _, key = name.partition(".")
    return getattr(getattr(_with(start, {name: value}), section), key)


def _with(start: RunConfig, values: Mapping[str, Any]) -> RunConfig:
    """Return a copy with new values of settings named as ``section.key``."""
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


@dataclass(frozen=True, slots=True)
class Trial:
    """One choice of settings and its result."""

    number: int
    state: str
    """``complete``, ``pruned`` (worse than others at some step) or ``failed``."""
    value: float | None
    """Mean of the metric over seeds and folds; of a pruned trial, its last intermediate value."""
    seconds: float | None
    settings: Mapping[str, Any]
    """Searched setting -> its value."""
    reason: str | None = None
    """Why it failed."""


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """Return the complete trial with the highest value, the first one on ties."""
    complete = [trial for trial in trials if trial.state == "complete"]
    return max(complete, key=lambda trial: (trial.value, -trial.number), default=None)


def write_trials(path: Path, trials: Sequence[Trial], settings: Sequence[str]) -> None:
    """Write the table of trials, with a column for each setting."""
    with atomic_write(path) as file:
        writer = csv.writer(file)
        writer.writerow(["number", "state", "value", "seconds", *settings, "reason"])
        for trial in trials:
            known = [trial.number, trial.state, trial.value, trial.seconds]
            writer.writerow([*known, *map(trial.settings.get, settings), trial.reason])


def write_recipe(path: Path, space: SearchSpace, trials: Sequence[Trial], best: Trial) -> None:
    """Write all settings of the best trial, with comments on the search."""
    settings = settings_of(space.config_of(best.settings))
    comments = [f"# {line}".rstrip() for line in _header(path, space, trials, best)]
    with atomic_write(path) as file:
        file.write("\n".join(comments) + "\n")
        yaml.safe_dump(settings, file, sort_keys=False, allow_unicode=True)


def _header(path: Path, space: SearchSpace, trials: Sequence[Trial], best: Trial) -> list[str]:
    assert best.value is not None  # the trial is complete
    trainings = len(space.cells_of("best", space.start))
    time = f"{best.seconds / trainings:.0f} s a training" if best.seconds else "not known"
    score = f"{METRIC_TITLES[space.metric]} {100 * best.value:.1f}"
    paragraphs = [
        f"The best of {len(trials)} trials of the search '{space.name}'.",
        "",
        f"Reproduces: nothing published; trial {best.number} of a search over "
        f"{', '.join(space.settings)}.",
        f"Expected result: {score} on dev, {_over(space)}. {OPTIMISTIC}",
        f"Expected time: {time}, on the machine of the search",
    ]
    wrap = partial(textwrap.wrap, width=WIDTH, subsequent_indent="  ", break_on_hyphens=False)
    lines = [line for text in paragraphs for line in wrap(text) or [""]]
    return [*lines, *f"Command: {_command(path, space)}".splitlines()]


def _over(space: SearchSpace) -> str:
    seeds = ", ".join(map(str, space.seeds))
    if space.folds is not None:
        return f"mean over {space.folds} folds of train and dev posts, seeds {seeds}"
    return f"mean over seeds {seeds}" if len(space.seeds) > 1 else f"seed {seeds}"


def _command(path: Path, space: SearchSpace) -> str:
    seed = ["--seed", str(space.seeds[0])]
    words = ["mvcn", "train", "--recipe", str(path), *_data_options(space.data.model_dump()), *seed]
    return shlex.join([*words, "--output", "RUN"])


def _data_options(data: Mapping[str, Any]) -> list[str]:
    columns = ",".join(f"{ours}={theirs}" for ours, theirs in data["columns"].items())
    given = {
        "--data": data["name"],
        "--root": data["root"],
        "--splits": data["splits"],
        "--fold": data["fold"],
        "--train": data["train"],
        "--dev": data["dev"],
        "--columns": columns or None,
        "--images": data["images"],
        "--on-bad-image": data["on_bad_image"] if data["on_bad_image"] != "error" else None,
    }
    words = [
        word for name, value in given.items() if value is not None for word in (name, str(value))
    ]
    return [*words, "--text-only"] if data["text_only"] else words
