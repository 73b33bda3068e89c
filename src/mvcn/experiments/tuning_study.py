"""What a search leaves: a study in a database, a table of trials, the best settings as recipe."""

import csv
import json
import shlex
import sqlite3
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from mvcn.data.posts import fingerprint
from mvcn.data.reading import read_training_posts
from mvcn.errors import RunError, reason_of
from mvcn.evaluation.metrics import METRIC_TITLES
from mvcn.experiments.grid import settings_of
from mvcn.experiments.tuning_space import SearchSpace
from mvcn.files import atomic_write
from mvcn.outputs import LOCK, require_output_folder, require_same_settings

STUDY_FILE = "study.db"
RECIPE_FILE, TRIALS_FILE = "best.yaml", "trials.csv"
SEARCH = "search"
MIN_TRIALS_TO_PRUNE = 5
"""Complete trials before any is pruned."""
MIN_TRIALS_AT_STEP = 3
"""Complete trials that were evaluated at the same step, before any is pruned there."""
WIDTH = 98
OPTIMISTIC = (
    "The score has chosen the settings on these very dev posts, so it is optimistic: evaluate them "
    "on posts that had no part in it."
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
    """Write a table: one row a trial, one column a setting."""
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
    score = f"{METRIC_TITLES[space.metric]} {100 * best.value:.1f}"
    paragraphs = [
        f"The best of {len(trials)} trials of the search '{space.name}'.",
        "",
        f"Reproduces: nothing published; trial {best.number} of a search over "
        f"{', '.join(space.settings)}.",
        f"Expected result: {score} on dev, {_over(space)}. {OPTIMISTIC}",
        f"Expected time: {time}, where it was chosen",
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


def require_search_folder(output: Path) -> None:
    """Raise a RunError unless the folder is new, empty, or that of a search.

    What an interrupted start of a search leaves does not count.
    """
    own = (LOCK, f"{STUDY_FILE}.partial", f"{STUDY_FILE}.partial-journal")
    is_own = (output / STUDY_FILE).is_file()
    require_output_folder(output, "search", is_own=is_own, overwrite=True, ignored=own)


@contextmanager
def opened_study(library: Any, space: SearchSpace, output: Path) -> Iterator[Any]:
    """Open the study of this search, after making it where there is none.

    Raises:
        RunError: The study is of another search, or the file is no study.
    """
    path, about = output / STUDY_FILE, _about(space)
    if not path.is_file():
        partial_path = path.with_name(f"{STUDY_FILE}.partial")
        for left in output.glob(f"{STUDY_FILE}.partial*"):
            left.unlink()
        with _storage(library, partial_path) as storage:
            study = library.create_study(
                storage=storage, study_name=space.name, direction="maximize"
            )
            study.set_user_attr(SEARCH, about)
        partial_path.replace(path)
    pruner = library.pruners.MedianPruner(MIN_TRIALS_TO_PRUNE, n_min_trials=MIN_TRIALS_AT_STEP)
    with _storage(library, path) as storage:
        study = library.load_study(study_name=None, storage=storage, pruner=pruner)
        before = study.user_attrs.get(SEARCH, {})
        require_same_settings(output, "search", before, about, can_overwrite=False)
        yield study


@contextmanager
def _storage(library: Any, path: Path) -> Iterator[Any]:
    """Open a database; the path goes past the address, in which some characters mean something."""
    options = {"creator": partial(sqlite3.connect, path)}
    try:
        storage = library.storages.RDBStorage(f"sqlite:///{STUDY_FILE}", options)
    except Exception as error:  # of sqlite, of its wrapper, or of the study's version
        raise RunError(
            f"{path} cannot be read as a study ({reason_of(error)}): "
            "choose another folder, or delete it."
        ) from error
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _about(space: SearchSpace) -> dict[str, Any]:
    """Return what must not change while a search is under way, as JSON gives it back."""
    posts = read_training_posts(space.data, space.seeds[0])
    data = space.data.model_dump()
    content = {
        "name": space.name,
        "recipe": settings_of(space.start),
        "data": data,
        "posts": [fingerprint(posts.train), fingerprint(posts.dev)],
        "seeds": space.seeds,
        "folds": space.folds,
        "metric": space.metric,
        "space": {name: _plain(domain) for name, domain in space.settings.items()},
    }
    return dict(json.loads(json.dumps(content)))


def _plain(domain: Any) -> dict[str, Any]:
    """Return a distribution as studies of all versions keep it: whole numbers have no step 1."""
    if hasattr(domain, "choices"):
        return {"choices": domain.choices}
    step = None if domain.step == 1 and isinstance(domain.low, int) else domain.step
    return {"low": domain.low, "high": domain.high, "log": domain.log, "step": step}
