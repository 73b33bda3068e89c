"""Search for settings: trials one after another, each resuming where it was interrupted."""

import gc
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from tqdm import tqdm
from transformers import TrainerCallback

from mvcn.errors import ConfigError, MvcnError
from mvcn.experiments.grid import Cell, assign_folds
from mvcn.experiments.runner import printing_to_log
from mvcn.experiments.tuning_space import SearchSpace, load_optuna
from mvcn.experiments.tuning_study import (
    RECIPE_FILE,
    TRIALS_FILE,
    Trial,
    best_of,
    opened_study,
    require_search_folder,
    write_recipe,
    write_trials,
)
from mvcn.outputs import locked
from mvcn.training.checkpoints import drop_checkpoints, last_checkpoint
from mvcn.training.run import train
from mvcn.training.run_folder import Run

SEED = 0
"""Of the sampler, with the number of the trial."""
STEPS = 10_000
"""Of a trial. Trials are compared at the same step, as rates fall over all of them."""
MIN_TRIALS_FOR_IMPORTANCE = 10
RUNS = "runs"
PRUNED, SECONDS, REASON = "pruned", "seconds", "reason"
STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a search has found."""

    best: Trial
    counts: Mapping[str, int]
    """State -> number of trials."""
    importance: Mapping[str, float]
    """Setting -> share of the differences that it explains (fANOVA); empty for few trials."""
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
    """The settings of a trial cannot be trained; those of others may be."""


def tune(space: SearchSpace, output: Path, trials: int) -> Outcome:
    """Try settings until there are so many trials; return the best.

    After each trial, `output` holds the best settings as a recipe, a table of all trials, and the
    run folders of the best. An interrupted search resumes at the last checkpoint of its trial,
    and ends as it would have without the interruption.

    Args:
        space: What to search, and how to evaluate it.
        output: Folder of this search alone, new or that of the search to continue.
        trials: How many to have in the end, with those that are there.

    Raises:
        MvcnError: The folder holds other files or another search, or is in use; optuna is not
            installed; posts cannot be read; or no trial was completed.
    """
    optuna = load_optuna()
    require_search_folder(output)
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
    """Return the trial that was interrupted, else a new one; None when there are enough.

    Each trial has a sampler of its own seed: what is drawn depends on the trials before, and not
    on when the search was interrupted.
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
        search.study.tell(trial, fmean(one["dev"][search.space.metric] for one in metrics))


def _train_all(search: _Search, trial: Any, progress: Any) -> list[Mapping[str, Any]]:
    """Return the metrics of the trial's trainings, as far as it was not pruned."""
    values = _suggest(trial, search.space)
    try:
        config = search.space.config_of(values)
    except ConfigError as error:
        raise _TrialError(str(error)) from error
    cells = search.space.cells_of(f"trial-{trial.number}", config, search.folds)
    metrics: list[Mapping[str, Any]] = []
    for cell in cells:
        before = [one["dev"][search.space.metric] for one in metrics]
        scores = DevScores(trial, search.space.metric, before, len(cells), progress)
        if trial.user_attrs.get(PRUNED):
            break
        metrics.append(_train(search, cell, scores))
    return metrics


def _suggest(trial: Any, space: SearchSpace) -> dict[str, Any]:
    """Return a value for each setting, as `Study.ask` would; those of the trial already stay."""
    return {
        name: space.value_of(name, trial._suggest(name, domain))
        for name, domain in space.settings.items()
    }


def _train(search: _Search, cell: Cell, scores: "DevScores") -> Mapping[str, Any]:
    """Train one cell, or resume it; its bars and lines go to a log next to its run folder."""
    run = search.run_of(cell)
    try:
        with printing_to_log(run):
            return _train_run(cell, run, scores)
    except MvcnError as error:
        if type(error) is MvcnError:  # neither settings nor files: the training came to nothing
            raise _TrialError(str(error)) from error
        raise type(error)(f"Trial {scores.trial.number}: {error}") from error
    except Exception as error:
        log = run.with_suffix(".log")
        raise MvcnError(
            f"Trial {scores.trial.number} failed ({error!r}): its log is {log}."
        ) from error
    finally:
        gc.collect()  # the Trainer and its callbacks refer to each other, and to the model


def _train_run(cell: Cell, run: Path, scores: "DevScores") -> Mapping[str, Any]:
    opened = Run(run)
    if opened.is_finished:
        drop_checkpoints(run)
        return opened.metrics
    resume = opened.is_started and last_checkpoint(run) is not None
    if run.exists() and not resume:
        shutil.rmtree(run)
    return train(cell.config, run, resume=resume, callbacks=[scores]).metrics


class DevScores(TrainerCallback):
    """Tells the study each epoch's dev score, and ends the training of a trial that is pruned.

    The value is the mean over the trial's trainings so far, this epoch's for the present one.
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
        """Report the score once, though an epoch may be repeated after an interruption."""
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
    """Write what is known by now, and remove run folders that are no longer needed."""
    trials = _trials(search)
    best = best_of(trials)
    write_trials(search.output / TRIALS_FILE, trials, tuple(search.space.settings))
    if best is not None:
        write_recipe(search.output / RECIPE_FILE, search.space, trials, best)
    for trial in trials:
        if trial is not best:
            shutil.rmtree(search.output / RUNS / f"trial-{trial.number}", ignore_errors=True)


def _trials(search: _Search) -> list[Trial]:
    """Return the trials that ended, by number."""
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
            f"None of the {len(trials)} trials was completed; {search.output / TRIALS_FILE} says "
            f"why, of the first: {trials[0].reason}"
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
    except (RuntimeError, ValueError):  # all trials are equally good
        return {}
    return {name: float(share) for name, share in found.items()}
