"""Search for settings: an Optuna study of trials, each of which resumes after interruptions."""

import gc
import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from tqdm import tqdm
from transformers import TrainerCallback

from mvcn.data.posts import fingerprint
from mvcn.data.reading import read_training_posts
from mvcn.errors import ConfigError, MvcnError, RunError, reason_of
from mvcn.experiments.grid import Cell, assign_folds, settings_of
from mvcn.experiments.runner import printing_to_log
from mvcn.experiments.tuning_space import (
    SearchSpace,
    Trial,
    best_of,
    load_optuna,
    write_recipe,
    write_trials,
)
from mvcn.outputs import LOCK, locked, require_output_folder, require_same_settings
from mvcn.plugins import use_plugins
from mvcn.training.checkpoints import drop_checkpoints, last_checkpoint
from mvcn.training.fit import MEMBERS_FOLDER
from mvcn.training.run import train
from mvcn.training.run_folder import Run

STUDY_FILE = "study.db"
RECIPE_FILE, TRIALS_FILE = "best.yaml", "trials.csv"
SEARCH = "search"
MIN_TRIALS_TO_PRUNE = 5
"""Complete trials before any is pruned."""
MIN_TRIALS_AT_STEP = 3
"""Complete trials that were evaluated at the same step, before any is pruned there."""
SEED = 0
"""Of the samplers, together with the number of the trial."""
STEPS = 10_000
"""Of a trial; trials are compared at the same step since learning rates decay over all steps."""
MIN_TRIALS_FOR_IMPORTANCE = 10
RUNS = "runs"
PRUNED, SECONDS, REASON = "pruned", "seconds", "reason"
STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a search."""

    best: Trial
    counts: Mapping[str, int]
    """State -> number of trials."""
    importance: Mapping[str, float]
    """Setting -> its share of the variance between trials (fANOVA); empty for few trials."""
    runs: tuple[Path, ...]
    """Run folders of the best trial."""


@dataclass(frozen=True, slots=True)
class _Search:
    space: SearchSpace
    output: Path
    optuna: Any
    study: Any
    folds: Sequence[Path]

    def run_of(self, cell: Cell) -> Path:
        return self.output / RUNS / cell.variant / cell.path.name


class _TrialError(Exception):
    """A trial cannot be trained with its settings; the search continues."""


def tune(space: SearchSpace, output: Path, trials: int) -> Outcome:
    """Run trials until there are `trials` of them, and return the best.

    After each trial, `output` holds the best settings as a recipe, a table of all trials, and the
    run folders of the best. An interrupted search resumes at the last checkpoint of its trial,
    with the same result as without the interruption.

    Args:
        space: The search space, and how its settings are evaluated.
        output: A new folder, or that of the search to continue.
        trials: Total number of trials, including those already there.

    Raises:
        MvcnError: The folder holds other files or another search, or is in use; Optuna is not
            installed; posts cannot be read; or no trial was completed.
    """
    optuna = load_optuna()
    require_search_folder(output)
    use_plugins(space.start.training.plugins)
    with locked(output, "search"), opened_study(optuna, space, output) as study:
        folds = space.folds and assign_folds(space.data, space.folds, output / "folds")
        search = _Search(space, output, optuna, study, folds or [])
        _run_all(search, trials)
        return _outcome(search)


def _run_all(search: _Search, trials: int) -> None:
    done = len(_trials(search))
    _settle(search)
    with tqdm(
        total=max(trials, done), initial=done, desc=search.space.name, unit="trial"
    ) as progress:
        while (trial := _next_trial(search, trials)) is not None:
            _run_trial(search, trial, progress)
            _settle(search)
            progress.update()


def _next_trial(search: _Search, trials: int) -> Any:
    """Return the interrupted trial, else a new one; None when there are enough.

    The sampler of each trial has its own seed, so that draws depend on the earlier trials, but not
    on interruptions.
    """
    states, samplers = search.optuna.trial.TrialState, search.optuna.samplers
    known = search.study.get_trials(deepcopy=False)
    interrupted = [trial for trial in known if trial.state == states.RUNNING]
    if not interrupted and len(known) >= trials:
        return None
    number = interrupted[0].number if interrupted else len(known)
    seed = int(np.random.SeedSequence([SEED, number]).generate_state(1)[0])
    search.study.sampler = samplers.TPESampler(seed=seed, multivariate=True, constant_liar=False)
    if interrupted:
        return search.optuna.trial.Trial(search.study, interrupted[0]._trial_id)
    return search.study.ask()


def _run_trial(search: _Search, trial: Any, progress: Any) -> None:
    states = search.optuna.trial.TrialState
    try:
        metrics = _train_all(search, trial, progress)
    except _TrialError as failure:
        trial.set_user_attr(REASON, str(failure))
        search.study.tell(trial, state=states.FAIL)
        return
    seconds = sum(sum(one["seconds"].values()) for one in metrics)
    trial.set_user_attr(SECONDS, round(seconds, 1))
    if trial.user_attrs.get(PRUNED):
        search.study.tell(trial, state=states.PRUNED)
    else:
        search.study.tell(trial, fmean(_score(search, one) for one in metrics))


def _train_all(search: _Search, trial: Any, progress: Any) -> list[Mapping[str, Any]]:
    """Return the metrics of the trainings of a trial, up to where it is pruned."""
    values = _suggest(trial, search.space)
    try:
        config = search.space.config_of(values)
    except ConfigError as error:
        raise _TrialError(str(error)) from error
    cells = search.space.cells_of(f"trial-{trial.number}", config, search.folds)
    metrics: list[Mapping[str, Any]] = []
    for cell in cells:
        before = [_score(search, one) for one in metrics]
        scores = DevScores(trial, search.space.metric, before, len(cells), progress)
        if trial.user_attrs.get(PRUNED):
            break
        metrics.append(_train(search, cell, scores))
    return metrics


def _score(search: _Search, metrics: Mapping[str, Any]) -> float:
    """Return the score on dev posts; of an ensemble without dev posts, that out of fold."""
    return float(metrics.get("dev", metrics.get("out_of_fold"))[search.space.metric])


def _suggest(trial: Any, space: SearchSpace) -> dict[str, Any]:
    """Return a value for each setting, as `Study.ask` does, keeping those of a resumed trial."""
    return {
        name: space.value_of(name, trial._suggest(name, domain))
        for name, domain in space.settings.items()
    }


def _train(search: _Search, cell: Cell, scores: "DevScores") -> Mapping[str, Any]:
    """Train or resume a cell, with its output in a log next to its run folder."""
    run = search.run_of(cell)
    try:
        with printing_to_log(run):
            return _train_run(cell, run, scores)
    except MvcnError as error:
        if type(error) is MvcnError:  # not of settings or files, but of the training
            raise _TrialError(str(error)) from error
        raise type(error)(f"Trial {scores.trial.number}: {error}") from error
    except Exception as error:
        log = run.with_suffix(".log")
        raise MvcnError(
            f"Trial {scores.trial.number} failed ({error!r}): see its log, {log}."
        ) from error
    finally:
        gc.collect()  # the Trainer and its callbacks refer to each other, and to the model


def _train_run(cell: Cell, run: Path, scores: "DevScores") -> Mapping[str, Any]:
    opened = Run(run)
    if opened.is_finished:
        drop_checkpoints(run)
        return opened.metrics
    has_members = (run / MEMBERS_FOLDER).is_dir()
    resume = opened.is_started and (has_members or last_checkpoint(run) is not None)
    if run.exists() and not resume:
        shutil.rmtree(run)
    return train(cell.without_export, run, resume=resume, callbacks=[scores]).metrics


class DevScores(TrainerCallback):
    """Reports the dev score of each epoch to the study, and stops the training of pruned trials.

    The reported value is the mean over the trial's trainings so far, including this epoch.
    """

    def __init__(
        self, trial: Any, metric: str, before: Sequence[float], trainings: int, progress: Any
    ) -> None:
        self.trial = trial
        self.metric = metric
        self.before = before
        self.trainings = trainings
        self.progress = progress

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Mapping[str, float], **kwargs: Any
    ) -> None:
        """Report the score once, even if the epoch is repeated after an interruption."""
        epoch, epochs = round(state.epoch), round(args.num_train_epochs)
        done = len(self.before)
        step = round(STEPS * (done + epoch / epochs) / self.trainings)
        value = fmean([*self.before, metrics[f"eval_{self.metric}"]])
        if step not in self.trial.study.trials[self.trial.number].intermediate_values:
            self.trial.report(value, step)
        self.progress.set_postfix_str(
            f"trial {self.trial.number}, training {done + 1} of {self.trainings}, "
            f"epoch {epoch} of {epochs}: {100 * value:.1f}"
        )
        is_last = control.should_training_stop or epoch == epochs
        if not (is_last and done + 1 == self.trainings) and self.trial.should_prune():
            self.trial.set_user_attr(PRUNED, True)
            control.should_training_stop = True


def _settle(search: _Search) -> None:
    """Write the table and the recipe, and remove the run folders of all but the best trial."""
    trials = _trials(search)
    best = best_of(trials)
    write_trials(search.output / TRIALS_FILE, trials, tuple(search.space.settings))
    if best is not None:
        write_recipe(search.output / RECIPE_FILE, search.space, trials, best)
    for trial in trials:
        if trial is not best:
            shutil.rmtree(search.output / RUNS / f"trial-{trial.number}", ignore_errors=True)


def _trials(search: _Search) -> list[Trial]:
    """Return the finished trials, by number."""
    known = search.study.get_trials(deepcopy=False)
    return [
        Trial(
            frozen.number,
            STATES[frozen.state.name],
            frozen.value,
            frozen.user_attrs.get(SECONDS),
            {
                name: search.space.value_of(name, frozen.params[name])
                for name in search.space.settings
            },
            frozen.user_attrs.get(REASON),
        )
        for frozen in known
        if frozen.state.name in STATES
    ]


def _outcome(search: _Search) -> Outcome:
    trials = _trials(search)
    best = best_of(trials)
    if best is None:
        raise MvcnError(
            f"None of the {len(trials)} trials was completed (the reasons are in "
            f"{search.output / TRIALS_FILE}); the first failed with: {trials[0].reason}"
        )
    counts = Counter(trial.state for trial in trials)
    cells = search.space.cells_of(f"trial-{best.number}", search.space.start)
    runs = tuple(search.run_of(cell) for cell in cells)
    return Outcome(best, counts, _importance(search, counts["complete"]), runs)


def _importance(search: _Search, complete: int) -> Mapping[str, float]:
    if complete < MIN_TRIALS_FOR_IMPORTANCE:
        return {}
    importance = search.optuna.importance
    try:
        found = importance.get_param_importances(
            search.study, evaluator=importance.FanovaImportanceEvaluator(seed=SEED)
        )
    except (RuntimeError, ValueError):  # all trials have equal values
        return {}
    return {name: float(share) for name, share in found.items()}


def require_search_folder(output: Path) -> None:
    """Raise a RunError unless the folder is new, empty, or that of a search.

    Files left by an interrupted start of a search are ignored.
    """
    own = (LOCK, f"{STUDY_FILE}.partial", f"{STUDY_FILE}.partial-journal")
    is_own = (output / STUDY_FILE).is_file()
    require_output_folder(output, "search", is_own=is_own, overwrite=True, ignored=own)


@contextmanager
def opened_study(library: Any, space: SearchSpace, output: Path) -> Iterator[Any]:
    """Open the study of this search, creating it if there is none.

    Raises:
        RunError: The study is of another search, or the file is not a study.
    """
    path, about = output / STUDY_FILE, _about(space)
    if not path.is_file():
        _create_study(library, space.name, path, about)
    pruner = library.pruners.MedianPruner(MIN_TRIALS_TO_PRUNE, n_min_trials=MIN_TRIALS_AT_STEP)
    with _storage(library, path) as storage:
        study = library.load_study(study_name=None, storage=storage, pruner=pruner)
        before = study.user_attrs.get(SEARCH, {})
        require_same_settings(output, "search", before, about, can_overwrite=False)
        yield study


def _create_study(library: Any, name: str, path: Path, about: Mapping[str, Any]) -> None:
    """Create a study in a new database, or nothing if it fails."""
    partial_path = path.with_name(f"{STUDY_FILE}.partial")
    for left in path.parent.glob(f"{STUDY_FILE}.partial*"):
        left.unlink()
    with _storage(library, partial_path) as storage:
        study = library.create_study(storage=storage, study_name=name, direction="maximize")
        study.set_user_attr(SEARCH, about)
    partial_path.replace(path)


@contextmanager
def _storage(library: Any, path: Path) -> Iterator[Any]:
    """Open a database by its path, since some characters of paths have a meaning in its URL."""
    options = {"creator": partial(sqlite3.connect, path)}
    try:
        storage = library.storages.RDBStorage(f"sqlite:///{STUDY_FILE}", options)
    except Exception as error:  # of sqlite, of its wrapper, or of the study's version
        raise RunError(
            f"{path} cannot be read as a study ({reason_of(error)}): choose another folder, or "
            "delete the file."
        ) from error
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _about(space: SearchSpace) -> dict[str, Any]:
    """Return all that must stay the same when a search is resumed, as plain values."""
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
    """Return a distribution as plain values; a step of 1 is None, as in earlier versions."""
    if hasattr(domain, "choices"):
        return {"choices": domain.choices}
    step = None if domain.step == 1 and isinstance(domain.low, int) else domain.step
    return {"low": domain.low, "high": domain.high, "log": domain.log, "step": step}
