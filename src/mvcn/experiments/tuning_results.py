"""What a search leaves: a row for each trial, and the best settings as a recipe."""

import csv
import shlex
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mvcn.config import DataConfig
from mvcn.experiments.grid import settings_of
from mvcn.experiments.tuning_space import METRICS, SearchSpace
from mvcn.files import atomic_write

RECIPE_FILE = "best.yaml"
TRIALS_FILE = "trials.csv"
WIDTH = 98
OPTIMISTIC = (
    "The score has chosen the settings on these very dev posts, so it is optimistic: judge them on "
    "posts that had no part in it."
)


@dataclass(frozen=True, slots=True)
class Trial:
    """One choice of settings that was tried to its end."""

    number: int
    state: str
    """``complete``, ``pruned`` (worse than others by then) or ``failed`` (cannot be trained)."""
    value: float | None
    """Mean of the metric over seeds and folds; of a pruned trial, over what was trained."""
    seconds: float | None
    settings: Mapping[str, Any]
    """Searched setting -> its value."""
    reason: str | None = None
    """Why it failed."""


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """Return the complete trial of the highest value, the first of equals."""
    complete = [trial for trial in trials if trial.state == "complete"]
    return max(complete, key=lambda trial: (trial.value, -trial.number), default=None)


def write_trials(path: Path, trials: Sequence[Trial], settings: Sequence[str]) -> None:
    """Write one row a trial, one column a setting."""
    with atomic_write(path) as file:
        writer = csv.writer(file)
        writer.writerow(["number", "state", "value", "seconds", *settings, "reason"])
        for trial in trials:
            values = [trial.settings.get(name) for name in settings]
            known = [trial.number, trial.state, trial.value, trial.seconds]
            writer.writerow([*known, *values, trial.reason])


def write_recipe(path: Path, space: SearchSpace, trials: Sequence[Trial], best: Trial) -> None:
    """Write all settings of the best trial, headed by where they come from."""
    settings = settings_of(space.config_of(best.settings))
    comments = [f"# {line}".rstrip() for line in _header(path, space, trials, best)]
    with atomic_write(path) as file:
        file.write("\n".join(comments) + "\n")
        yaml.safe_dump(settings, file, sort_keys=False, allow_unicode=True)


def _header(path: Path, space: SearchSpace, trials: Sequence[Trial], best: Trial) -> list[str]:
    assert best.value is not None  # the trial is complete
    trainings = len(space.cells_of("best", space.start))
    time = f"{best.seconds / trainings:.0f} s a training" if best.seconds else "not known"
    paragraphs = [
        f"The best of {len(trials)} trials of the search '{space.name}'.",
        "",
        f"Reproduces: nothing published; trial {best.number} of a search over "
        f"{', '.join(space.settings)}.",
        f"Expected result: {_score(best.value, space)} on dev, {_judges(space)}. {OPTIMISTIC}",
        f"Expected time: {time}, where it was chosen",
    ]
    lines = [line for text in paragraphs for line in _wrapped(text)]
    return [*lines, *f"Command: {_command(path, space)}".splitlines()]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False) or [""]


def _score(value: float, space: SearchSpace) -> str:
    return f"{METRICS[space.metric]} {100 * value:.1f}"


def _judges(space: SearchSpace) -> str:
    seeds = ", ".join(map(str, space.seeds))
    if space.folds is not None:
        return f"mean over {space.folds} folds of train and dev posts, seeds {seeds}"
    return f"mean over seeds {seeds}" if len(space.seeds) > 1 else f"seed {seeds}"


def _command(path: Path, space: SearchSpace) -> str:
    seed = ["--seed", str(space.seeds[0])]
    words = ["mvcn", "train", "--recipe", str(path), *_data_options(space.data), *seed]
    return shlex.join([*words, "--output", "RUN"])


def _data_options(data: DataConfig) -> list[str]:
    columns = ",".join(f"{ours}={theirs}" for ours, theirs in data.columns.items())
    given = {
        "--data": data.name,
        "--root": data.root,
        "--splits": data.splits,
        "--train": data.train,
        "--dev": data.dev,
        "--columns": columns or None,
        "--images": data.images,
        "--on-bad-image": data.on_bad_image if data.on_bad_image != "error" else None,
    }
    words = [
        word for name, value in given.items() if value is not None for word in (name, str(value))
    ]
    return [*words, "--text-only"] if data.text_only else words
