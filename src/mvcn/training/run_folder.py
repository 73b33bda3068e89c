"""What a run leaves on disk, and how one run is kept from overwriting another."""

import csv
import json
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from mvcn.config import RunConfig, read_config
from mvcn.errors import ConfigError, RunError, reason_of
from mvcn.files import atomic_write, require_allowed
from mvcn.outputs import require_output_folder, require_same_settings
from mvcn.training.checkpoints import CHECKPOINTS
from mvcn.training.model_card import model_card
from mvcn.types import Post

KIND = "run"
CONFIG_FILE = "config.yaml"
METRICS_FILE = "metrics.json"
HISTORY_FILE = "history.csv"
ENVIRONMENT_FILE = "environment.json"
CARD_FILE = "README.md"
DEV_PREDICTIONS_FILE = "dev_predictions.csv"
PROBABILITY = "probability_"

RECORDED_PACKAGES = ("mvcn", "torch", "transformers", "accelerate", "numpy", "pillow")


def check_run_folder(folder: Path, config: RunConfig, *, resume: bool, overwrite: bool) -> None:
    """Raise what `create_run_folder` would, and change nothing: for before the work that may fail.

    Raises:
        RunError: The folder holds another run or other files; or there is no such run to resume,
            or it was started with other settings.
    """
    if resume:
        _check_resumable(folder, config)
    else:
        require_output_folder(
            folder, KIND, is_own=is_run(folder), overwrite=overwrite, can_resume=True
        )


def create_run_folder(folder: Path, config: RunConfig, *, resume: bool, overwrite: bool) -> None:
    """Make the folder ready for this run, or refuse as `check_run_folder` does."""
    check_run_folder(folder, config, resume=resume, overwrite=overwrite)
    if resume:
        return
    if folder.exists():
        shutil.rmtree(folder)
    (folder / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
    (folder / CONFIG_FILE).write_text(config.to_yaml(), "utf-8")


def is_run(folder: Path) -> bool:
    """Tell whether the folder was created for a run."""
    return (folder / CONFIG_FILE).is_file() and (folder / CHECKPOINTS).is_dir()


def is_finished(folder: Path) -> bool:
    """Tell whether the run came to its end."""
    return (folder / METRICS_FILE).is_file()


def write_history(path: Path, log: Sequence[Mapping[str, Any]]) -> None:
    """Write what was logged, one row an entry, one column a name."""
    columns = list(dict.fromkeys(name for entry in log for name in entry))
    with atomic_write(path) as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(log)


def read_history(folder: Path) -> list[dict[str, str]]:
    """Return the rows that `write_history` wrote, by column.

    Raises:
        RunError: There are none.
    """
    return _read_rows(folder / HISTORY_FILE)


def write_dev_predictions(
    folder: Path,
    posts: Sequence[Post],
    probabilities: Float[np.ndarray, "batch classes"],
    class_names: Sequence[str],
) -> None:
    """Write what the model says of each dev post beside its label, for a look at the errors."""
    with atomic_write(folder / DEV_PREDICTIONS_FILE) as file:
        writer = csv.writer(file)
        columns = [f"{PROBABILITY}{name}" for name in class_names]
        writer.writerow(["id", "label", "predicted", *columns])
        for post, row in zip(posts, probabilities, strict=True):
            writer.writerow([post.id, post.label, class_names[row.argmax()], *row.tolist()])


def read_dev_predictions(folder: Path) -> list[dict[str, str]]:
    """Return the rows that `write_dev_predictions` wrote, by column.

    Raises:
        RunError: There are none.
    """
    return _read_rows(folder / DEV_PREDICTIONS_FILE)


def read_dev_confidence(
    folder: Path,
) -> tuple[Float[np.ndarray, " batch"], Bool[np.ndarray, " batch"]]:
    """Return the top probability of each dev post, and whether it was predicted rightly."""
    rows = read_dev_predictions(folder)
    names = [name for name in rows[0] if name.startswith(PROBABILITY)]
    confidence = [max(float(row[name]) for name in names) for row in rows]
    is_right = [row["predicted"] == row["label"] for row in rows]
    return np.array(confidence), np.array(is_right)


def write_card(folder: Path, report: Mapping[str, Any], environment: Mapping[str, Any]) -> None:
    """Write the model card of a run, under the name that the Hugging Face hub shows."""
    path = folder / CONFIG_FILE
    config = read_config(path.read_text("utf-8"), str(path))
    with atomic_write(folder / CARD_FILE) as file:
        file.write(model_card(folder.resolve().name, config, report, environment))


def read_report(folder: Path) -> dict[str, Any]:
    """Return what `train` reported of a finished run.

    Raises:
        RunError: The file is missing or damaged.
    """
    return _read_mapping(folder / METRICS_FILE)


def read_columns(folder: Path) -> dict[str, str]:
    """Return our name of a column -> its name in the files that a run learned from.

    Nothing for a model that is no run folder, such as one of the Hugging Face hub.

    Raises:
        RunError: The file that says so is damaged.
    """
    if not is_finished(folder):
        return {}
    return {str(k): str(v) for k, v in dict(read_report(folder).get("columns", {})).items()}


def learned_from_texts_alone(folder: Path) -> bool:
    """Tell whether a run left images aside; not known, so false, of a model that is no run folder.

    Settings that another version wrote and this one does not know say nothing either.
    """
    try:
        return is_finished(folder) and read_run_config(folder).data.text_only
    except (ConfigError, RunError):
        return False


def read_environment(folder: Path) -> dict[str, Any]:
    """Return versions, seed, commit and digests of the posts of a finished run.

    Raises:
        RunError: The file is missing or damaged.
    """
    return _read_mapping(folder / ENVIRONMENT_FILE)


def read_run_config(folder: Path) -> RunConfig:
    """Return the settings of a run.

    Raises:
        RunError: The file is missing or damaged.
        ConfigError: A setting in it does not exist or is out of its range.
    """
    path = folder / CONFIG_FILE
    return read_config(_read_text(path), str(path))


def _read_rows(path: Path) -> list[dict[str, str]]:
    rows = list(csv.DictReader(_read_text(path).splitlines(keepends=True)))
    if not rows:
        raise _damaged(path, "it holds no row")
    return rows


def _read_mapping(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(_read_text(path))
    except json.JSONDecodeError as error:
        raise _damaged(path, str(error)) from error
    if not found or not isinstance(found, dict):
        raise _damaged(path, "it holds nothing by name")
    return found


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        require_allowed(path, RunError)
        raise _damaged(path, reason_of(error)) from error


def _damaged(path: Path, why: str) -> RunError:
    return RunError(f"{path} is missing or damaged ({why}): train the run again.")


def describe_environment() -> dict[str, Any]:
    """Return versions and, where the code is a git checkout, its commit."""
    packages = {name: version(name) for name in RECORDED_PACKAGES}
    return {"python": platform.python_version(), "packages": packages, "git_commit": _git_commit()}


def _git_commit() -> str | None:
    command = [
        "git",
        "-C",
        str(Path(__file__).parent),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=40",
    ]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _check_resumable(folder: Path, config: RunConfig) -> None:
    if not is_run(folder):
        raise RunError(f"{folder} holds no {KIND} to resume: start it without --resume.")
    if is_finished(folder):
        raise RunError(f"The run in {folder} is finished: there is nothing to resume.")
    before, now = _by_name(read_run_config(folder)), _by_name(config)
    require_same_settings(folder, KIND, before, now)


def _by_name(config: RunConfig) -> dict[str, Any]:
    """Return ``section.setting`` -> its value."""
    sections = config.to_mapping().items()
    return {f"{name}.{key}": value for name, section in sections for key, value in section.items()}
