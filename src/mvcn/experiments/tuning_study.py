"""The study of a search: a data base in its folder, which knows what the search is about."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from mvcn.data.posts import fingerprint
from mvcn.data.reading import read_training_posts
from mvcn.errors import ConfigError, RunError, reason_of
from mvcn.experiments.grid import settings_of
from mvcn.experiments.tuning_space import SearchSpace
from mvcn.outputs import LOCK, require_output_folder, require_same_settings

STUDY_FILE = "study.db"
SEARCH = "search"
MIN_TRIALS_TO_PRUNE = 5
"""Complete trials before any is cut short."""
MIN_TRIALS_AT_STEP = 3
"""Complete trials that were judged after the same part, before any is cut short there."""


def load_library() -> Any:
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
        "space": {name: domain.to_mapping() for name, domain in space.settings.items()},
    }
    return dict(json.loads(json.dumps(content)))
