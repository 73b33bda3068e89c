"""The folder of a run: its files are read, and no run overwrites another."""

import csv
import json
import shutil
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mvcn.config import RunConfig, read_config
from mvcn.data.posts import fingerprint
from mvcn.data.reading import TrainingPosts, draw_training_posts, read_training_posts
from mvcn.errors import (
    ConfigError,
    MissingExtraError,
    MvcnError,
    PluginError,
    RunError,
    reason_of,
)
from mvcn.files import require_allowed
from mvcn.outputs import require_output_folder, require_same_settings
from mvcn.plugins import find_saved
from mvcn.training.checkpoints import CHECKPOINTS
from mvcn.training.held_out_files import MEMBER, PREDICTION_FILES
from mvcn.types import ATTRIBUTE_MODEL_FOLDER, PROBABILITY, Post, TargetScore

if TYPE_CHECKING:
    from mvcn.evaluation.selective_classification import Threshold
    from mvcn.inputs.attributes import AttributeModel
    from mvcn.inputs.processor import MvcnProcessor
    from mvcn.models.classification import MvcnForClassification

KIND = "run"
CONFIG_FILE = "config.yaml"
METRICS_FILE = "metrics.json"
HISTORY_FILE = "history.csv"
NO_HISTORY = "\n"
"""Content of that file for a model that is fitted and not trained: a header without columns."""
ENVIRONMENT_FILE = "environment.json"
CARD_FILE = "README.md"


class Run:
    """A run folder, whose files are read on first access.

    Any other folder with a saved model and processor can be opened, too, but has nothing else.
    Accessing a file that is missing or damaged raises a RunError.

    Args:
        folder: Run folder, as `mvcn.training.run.train` writes it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def is_started(self) -> bool:
        """Whether the folder was created for a run."""
        return (self.folder / CONFIG_FILE).is_file() and (self.folder / CHECKPOINTS).is_dir()

    @property
    def is_finished(self) -> bool:
        """Whether the run has finished."""
        return (self.folder / METRICS_FILE).is_file()

    @cached_property
    def config(self) -> RunConfig:
        """Settings; raises a ConfigError if one does not exist or is out of its range."""
        path = self.folder / CONFIG_FILE
        return read_config(_read_text(path), str(path))

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """Metrics on the dev posts, and counts and columns of the posts."""
        return _read_mapping(self.folder / METRICS_FILE)

    @cached_property
    def environment(self) -> dict[str, Any]:
        """Versions, seed, commit and digests of the posts."""
        return _read_mapping(self.folder / ENVIRONMENT_FILE)

    @property
    def history(self) -> list[dict[str, str]]:
        """Rows of the history file, by column; none where a model is fitted and not trained."""
        path = self.folder / HISTORY_FILE
        return _read_rows(path) if _read_text(path) != NO_HISTORY else []

    @property
    def held_out(self) -> str:
        """Name of the posts that the scores are about, of `PREDICTION_FILES`."""
        return next(name for name in PREDICTION_FILES if name in self.metrics)

    @property
    def evaluation(self) -> dict[str, Any]:
        """Scores on the held-out posts, as `Evaluation.to_mapping` returns them."""
        return dict(self.metrics[self.held_out])

    def has_learned(self, posts: Sequence[Post]) -> bool:
        """Return whether these are the train posts of the run, all of them in their order."""
        known = self.environment["data_fingerprint"] if self.is_finished else {}
        return bool(known.get("train") == fingerprint(posts))

    def have_learned_text(self, posts: Sequence[Post]) -> list[bool] | None:
        """Return whether the text of each post is a near-duplicate of one of the train posts'.

        None if these cannot be read any more, or the folder is not a finished run.
        """
        from mvcn.data.near_duplicates import have_near_duplicate  # its libraries take a while

        if not self.is_finished:
            return None
        try:
            learned = [post.text for post in self.posts.train]
        except (MvcnError, FileNotFoundError):
            return None
        return have_near_duplicate(learned, [post.text for post in posts])

    def predictions(self, held_out: str | None = None) -> list[dict[str, str]]:
        """Return the rows of a file of predictions, by column; by default for `held_out`."""
        return _read_rows(self.folder / PREDICTION_FILES[held_out or self.held_out])

    def members_without(self, posts: Sequence[Post]) -> list[int | None]:
        """Return the number, from 0, of the member that was not trained on each post.

        None for posts that no member or all were trained on, and in runs of earlier versions.
        """
        found = {row["id"]: row.get(MEMBER) for row in self.predictions()}
        return [int(one) - 1 if (one := found.get(post.id)) else None for post in posts]

    def threshold(self, precision: float) -> "Threshold":
        """Return the confidence threshold above which a share of the labels is correct.

        It is chosen on held-out posts, which also chose the temperature, and, of a model without
        members, the epoch, so that it is slightly optimistic for new posts.

        Args:
            precision: Share of correct labels among those assigned, above 0 and below 1.

        Raises:
            ConfigError: `precision` is not between 0 and 1.
            MvcnError: No threshold reaches the precision on the held-out posts.
        """
        from mvcn.evaluation.selective_classification import choose_threshold

        if not 0 < precision < 1:
            raise ConfigError(
                f"--precision is {precision:g}, but must be between 0 and 1, such as 0.9."
            )
        if not self.is_finished:
            raise RunError(
                f"{self.folder} is not a finished run, so no threshold can be chosen: finish it "
                "with mvcn train --resume."
            )
        rows = self.predictions()
        names = [name for name in rows[0] if name.startswith(PROBABILITY)]
        confidence = [max(float(row[name]) for name in names) for row in rows]
        is_right = [row["predicted"] == row["label"] for row in rows]
        return choose_threshold(np.array(confidence), np.array(is_right), precision)

    @property
    def columns(self) -> dict[str, str]:
        """Our name of a column -> its name in the training files, "" for one that was ignored.

        Empty for a folder that is not a finished run, such as a model of the Hugging Face hub.
        """
        columns = self.metrics.get("columns", {}) if self.is_finished else {}
        return {str(ours): str(theirs) for ours, theirs in dict(columns).items()}

    @cached_property
    def posts(self) -> TrainingPosts:
        """Train and dev posts.

        Raises:
            DataError: They cannot be found any more.
            PluginError: The plug-in that read them is not there.
        """
        for plugin in self.environment.get("plugins", ()) if self.is_finished else ():
            if plugin["kind"] == "dataset":
                find_saved("dataset", plugin)
        return training_posts(self.config)

    @property
    def held_out_posts(self) -> Sequence[Post]:
        """Those that `held_out` names."""
        return self.posts.dev if self.held_out == "dev" else self.posts.train

    @cached_property
    def processor(self) -> "MvcnProcessor":
        """Processor of the model."""
        from transformers import AutoProcessor

        from mvcn.encoders.loading import has_vocabulary
        from mvcn.inputs.processor import MvcnProcessor

        self.require_model()
        try:
            processor = AutoProcessor.from_pretrained(self.folder, local_files_only=True)
        except Exception as error:  # damaged files make Hugging Face raise almost any type
            raise self._damaged(_first_sentence(error)) from error
        if not isinstance(processor, MvcnProcessor):
            raise RunError(
                f"{self.folder} is not a run folder (it has no processor): use a folder written "
                "by mvcn train."
            )
        if not has_vocabulary(processor.tokenizer):
            raise self._damaged("it has no vocabulary")
        return processor

    @cached_property
    def model(self) -> "MvcnForClassification":
        """The model in evaluation mode; the processor truncates texts to what it can read.

        Only the folder is read: no encoder package, no hub.
        """
        from transformers import AutoModelForSequenceClassification

        from mvcn.models.classification import MvcnForClassification

        processor = self.processor
        try:
            model, info = AutoModelForSequenceClassification.from_pretrained(
                self.folder, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
        except (MissingExtraError, PluginError):
            raise
        except Exception as error:  # as above
            raise self._damaged(_first_sentence(error)) from error
        if not isinstance(model, MvcnForClassification) or any(info.values()):
            raise RunError(
                f"The run in {self.folder} is damaged or was written by an earlier version (its "
                "weights do not fit its config.json): train it again."
            )
        model.eval()
        processor.limit_tokens(model.most_tokens(processor.max_tokens))
        return model

    def logit_offsets(self, target: TargetScore) -> list[float] | None:
        """Return what is added to the logits for a score: nothing for accuracy.

        Raises:
            RunError: The training chose none, as in an earlier version.
        """
        if target == "accuracy":
            return None
        if "class_balance" not in self.metrics:
            raise RunError(
                f"The run in {self.folder} has no offsets for macro F1: train it again, or leave "
                "out --for."
            )
        return list(self.metrics["class_balance"]["offsets"])

    @cached_property
    def attribute_model(self) -> "AttributeModel | None":
        """The attribute model, if one was saved with the model."""
        from mvcn.inputs.attributes import AttributeModel

        place = self.folder / ATTRIBUTE_MODEL_FOLDER
        return AttributeModel.load(place) if place.is_dir() else None

    def require_model(self) -> None:
        """Raise a RunError if there is no model, or a file may not be read."""
        require_allowed(self.folder, RunError, "The run in")
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            require_allowed(path, RunError)
        if (self.folder / "config.json").is_file():
            return
        if (self.folder / CONFIG_FILE).is_file():
            raise RunError(
                f"The run in {self.folder} is not finished: repeat the mvcn train command that "
                "began it, with --resume."
            )
        if not self.folder.exists():
            raise RunError(f"There is no folder {self.folder}: use one written by mvcn train.")
        if self.folder.is_file():
            raise RunError(
                f"{self.folder} is a file, but the run comes first: give the folder written by "
                "mvcn train."
            )
        raise RunError(
            f"{self.folder} is not a run folder (it has no config.json): use a folder written by "
            "mvcn train."
        )

    def _damaged(self, why: str) -> RunError:
        return RunError(f"The run in {self.folder} is damaged ({why}): copy or train it again.")


def _first_sentence(error: Exception) -> str:
    return str(error).strip().split("\n")[0].split(". ")[0].rstrip(".")


def training_posts(config: RunConfig) -> TrainingPosts:
    """Read the train and dev posts of a run; an ensemble needs no dev posts."""
    data, training = config.data, config.training
    posts = read_training_posts(
        data,
        training.seed if data.split_seed is None else data.split_seed,
        lambda count: data.split_seed is not None or training.num_members(count) == 1,
    )
    draw = training.seed if data.limit_seed is None else data.limit_seed
    return draw_training_posts(posts, data.limit, draw)


def check_run_folder(folder: Path, config: RunConfig, *, resume: bool, overwrite: bool) -> None:
    """Raise what `create_run_folder` would, without changing anything.

    Raises:
        RunError: The folder holds another run or other files; or there is no run to resume, or it
            has other settings.
    """
    if resume:
        _check_resumable(folder, config)
        return
    run = Run(folder)
    if run.is_started and run.is_finished and not overwrite:
        raise RunError(
            f"The run in {folder} is finished: choose another --output, or replace it with "
            "--overwrite."
        )
    require_output_folder(folder, KIND, is_own=run.is_started, overwrite=overwrite, can_resume=True)


def create_run_folder(folder: Path, config: RunConfig, *, resume: bool, overwrite: bool) -> None:
    """Create the folder for this run, after the checks of `check_run_folder`."""
    check_run_folder(folder, config, resume=resume, overwrite=overwrite)
    if resume:
        return
    if folder.exists():
        shutil.rmtree(folder)
    (folder / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
    (folder / CONFIG_FILE).write_text(config.to_yaml(), "utf-8")


def _read_rows(path: Path) -> list[dict[str, str]]:
    rows = list(csv.DictReader(_read_text(path).splitlines(keepends=True)))
    if not rows:
        raise _damaged(path, "it has no rows")
    return rows


def _read_mapping(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(_read_text(path))
    except json.JSONDecodeError as error:
        raise _damaged(path, str(error)) from error
    if not found or not isinstance(found, dict):
        raise _damaged(path, "it is not a mapping")
    return found


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        require_allowed(path, RunError)
        raise _damaged(path, reason_of(error)) from error


def _damaged(path: Path, why: str) -> RunError:
    return RunError(f"{path} is missing or damaged ({why}): train the run again.")


def _check_resumable(folder: Path, config: RunConfig) -> None:
    run = Run(folder)
    if not run.is_started:
        raise RunError(f"{folder} holds no {KIND} to resume: leave out --resume.")
    if run.is_finished:
        raise RunError(
            f"The run in {folder} is already finished: leave out --resume, or train it again with "
            "--overwrite."
        )
    before, now = _by_name(run.config), _by_name(config)
    require_same_settings(folder, KIND, before, now)


def _by_name(config: RunConfig) -> dict[str, Any]:
    """Return ``section.setting`` -> its value."""
    sections = config.to_mapping().items()
    return {f"{name}.{key}": value for name, section in sections for key, value in section.items()}
