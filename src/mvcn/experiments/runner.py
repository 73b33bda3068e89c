"""Run an experiment: its cells in processes of their own, finished ones never again."""

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Future, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mvcn.data.near_duplicates import have_near_duplicate
from mvcn.data.posts import fingerprint
from mvcn.errors import ConfigError, MvcnError, RunError
from mvcn.experiments.cell import CellResult, read_cell, write_cell
from mvcn.experiments.folds import deal_folds
from mvcn.experiments.grid import Cell, Experiment, cells_of, settings_of, with_splits
from mvcn.outputs import locked
from mvcn.training.arguments import check_compatibility
from mvcn.training.run import train
from mvcn.training.run_folder import Run
from mvcn.workers import worker_pool


@dataclass(frozen=True, slots=True)
class Places:
    """Where an experiment's files go; each is the folder of this experiment alone."""

    results: Path
    """A small JSON file for each finished cell."""
    runs: Path
    """Run folders and logs of cells that are not finished."""


def run_experiment(
    experiment: Experiment, places: Places, *, jobs: int = 1, initializer: Callable[[], None]
) -> Sequence[Path]:
    """Train every cell that is not finished; return the files of all results.

    A cell that was cut goes on at its last checkpoint. A cell's run folder is removed when its
    result is written.

    Args:
        experiment: What to train.
        places: Where its files go.
        jobs: Cells at a time, which share the cores between them.
        initializer: Called first in each process; a function of a module.

    Raises:
        ConfigError: A network cannot do what a row asks of it.
        MvcnError: The experiment runs already, a result was made with other settings, or a cell
            cannot be trained.
    """
    _require_possible(cells_of(experiment))
    with locked(places.runs, f"experiment '{experiment.name}'"):
        cells = _with_folds(experiment, places)
        pending = [cell for cell in cells if not _is_finished(cell, places)]
        _run_all(experiment.name, pending, len(cells), places, jobs, initializer)
    return [_result_path(cell, places) for cell in cells]


def _require_possible(cells: Sequence[Cell]) -> None:
    """Raise a ConfigError, before hours of training, where a network cannot do what a row asks."""
    for cell in cells:
        try:
            check_compatibility(cell.config)
        except ConfigError as error:
            raise ConfigError(f"Cell {cell.path}: {error}") from error


def _with_folds(experiment: Experiment, places: Places) -> list[Cell]:
    """Return the cells; those of folds with the lists of ids that say which posts they have."""
    if experiment.folds is None:
        return cells_of(experiment)
    folders = {
        name: deal_folds(data, experiment.folds, places.runs / name / "folds")
        for name, data in experiment.data.items()
    }
    cells = []
    for cell in cells_of(experiment):
        assert cell.fold is not None  # the experiment has folds
        config = with_splits(cell.config, folders[cell.data][cell.fold])
        cells.append(replace(cell, config=config))
    return cells


def _is_finished(cell: Cell, places: Places) -> bool:
    """Tell whether the cell has a result.

    Raises:
        RunError: It was made with other settings.
    """
    path = _result_path(cell, places)
    if not path.is_file():
        return False
    before, now = read_cell(path).settings, settings_of(cell.config)
    changed = [f"{s}.{k}" for s in now for k in now[s] if before.get(s, {}).get(k) != now[s][k]]
    if changed:
        raise RunError(
            f"{path} was made with other settings ({', '.join(changed)}): delete it to run the "
            "cell again, or give the experiment another name."
        )
    return True


def _run_all(
    name: str,
    pending: Sequence[Cell],
    total: int,
    places: Places,
    jobs: int,
    initializer: Callable[[], None],
) -> None:
    """Train the pending cells in fresh processes, and show how far the work has got."""
    with (
        worker_pool(jobs, __name__, initializer, max_tasks_per_child=1) as pool,
        tqdm(total=total, initial=total - len(pending), desc=name, unit="cell") as progress,
    ):
        work = {pool.submit(_run_cell, name, cell, places): cell for cell in pending}
        try:
            for future in as_completed(work):
                _finish(future, work[future], places)
                progress.update()
        finally:
            pool.shutdown(cancel_futures=True)


def _finish(future: Future[None], cell: Cell, places: Places) -> None:
    try:
        future.result()
    except BrokenProcessPool as error:
        raise MvcnError(
            "A process of the experiment was killed, perhaps for want of memory: run the command "
            "again to go on, with fewer --jobs if need be."
        ) from error
    except MvcnError as error:
        raise MvcnError(f"Cell {cell.path}: {error}") from error
    except Exception as error:
        log = _run_path(cell, places).with_suffix(".log")
        raise MvcnError(f"Cell {cell.path} failed ({error!r}): its log is {log}.") from error


def _run_cell(name: str, cell: Cell, places: Places) -> None:
    """Train the cell, write its result, and remove its run folder."""
    folder = _run_path(cell, places)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (
        folder.with_suffix(".log").open("a", encoding="utf-8") as log,
        redirect_stdout(log),
        redirect_stderr(log),
    ):
        run = Run(folder)
        if not run.is_finished:
            run = train(cell.config, folder, resume=run.is_started)
        write_cell(_result_path(cell, places), _result(name, cell, run))
    shutil.rmtree(folder)


def _result(name: str, cell: Cell, run: Run) -> CellResult:
    posts, rows = run.posts, run.dev_predictions
    judged = {row["id"] for row in rows}
    numbers = {label: number for number, label in enumerate(posts.class_names)}
    is_near = have_near_duplicate(
        [post.text for post in posts.train], [post.text for post in posts.dev]
    )
    return CellResult(
        name,
        cell.row,
        cell.data,
        cell.seed,
        cell.fold,
        posts.class_names,
        labels=np.array([numbers[row["label"]] for row in rows]),
        predicted=np.array([numbers[row["predicted"]] for row in rows]),
        has_near_duplicate=np.array(
            [near for post, near in zip(posts.dev, is_near, strict=True) if post.id in judged]
        ),
        posts_digest=fingerprint(post for post in posts.dev if post.id in judged),
        metrics=run.metrics["dev"]
        | {"expected_calibration_error": run.metrics["calibration"]["error_before"]},
        settings=settings_of(cell.config),
        seconds=run.metrics["seconds"],
        environment=run.environment,
    )


def _result_path(cell: Cell, places: Places) -> Path:
    return (places.results / cell.path).with_suffix(".json")


def _run_path(cell: Cell, places: Places) -> Path:
    return places.runs / cell.path
