"""Run an experiment: each unfinished cell is trained in a separate process."""

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from mvcn.data.near_duplicates import have_near_duplicate
from mvcn.data.posts import fingerprint, label_ids
from mvcn.errors import MvcnError, RunError
from mvcn.experiments.grid import (
    TEST,
    Cell,
    Experiment,
    assign_folds,
    cells_of,
    check_settings,
    naming,
    part_of,
    settings_of,
)
from mvcn.experiments.progress import EpochFile, Progress, StatusLine
from mvcn.experiments.results import CellResult, read_cell, write_cell
from mvcn.experiments.same_posts import read_test_posts, require_same_posts, with_fixed_splits
from mvcn.inference.classifier import Classifier
from mvcn.outputs import locked
from mvcn.training.environment import describe_plugins
from mvcn.training.run import train
from mvcn.training.run_folder import Run
from mvcn.types import Post, probability_columns
from mvcn.workers import worker_pool

SECONDS_PER_LOOK = 1.0
"""Time between two looks at what the cells are doing."""


@dataclass(frozen=True, slots=True)
class Places:
    """Folders of an experiment."""

    results: Path
    """A small JSON file for each finished cell."""
    runs: Path
    """Run folders and logs of unfinished cells."""


def run_experiment(
    experiment: Experiment,
    places: Places,
    part: tuple[Sequence[str], Sequence[int]] = ((), ()),
    *,
    jobs: int = 1,
    initializer: Callable[[], None],
) -> Sequence[Path]:
    """Train every unfinished cell, and return the files of all results.

    An interrupted cell resumes from its last checkpoint. The run folder of a cell is removed once
    its result is written.

    Args:
        experiment: The experiment.
        places: Folders of its files.
        part: Variants and seeds to train, of each none for all; the cells are those of the entire
            experiment.
        jobs: Number of cells that are trained in parallel and share the cores.
        initializer: Called first in each process; it must be importable.

    Raises:
        ConfigError: The network of a variant does not support its settings.
        MvcnError: The experiment is running already, a result has other settings or is of other
            posts, variants would be evaluated on different posts, or a cell cannot be trained.
    """
    check_settings(experiment)
    experiment = with_fixed_splits(experiment)
    with locked(places.runs, f"experiment '{experiment.name}'"):
        cells = cells_of(experiment, _folds(experiment, places))
        found = {path: read_cell(path) for path in sorted(places.results.rglob("*.json"))}
        _require_same_settings(cells, found, places)
        require_same_posts(cells, found)
        cells = part_of(cells, *part)
        finished = {
            cell.path: _seconds(found[path])
            for cell in cells
            if (path := _result_path(cell, places)) in found
        }
        progress = Progress(experiment.name, cells, jobs, StatusLine())
        progress.resume(finished)
        pending = [cell for cell in cells if cell.path not in finished]
        _run_all(experiment.name, pending, progress, places, jobs, initializer)
    return [_result_path(cell, places) for cell in cells]


def _folds(experiment: Experiment, places: Places) -> dict[str, list[Path]] | None:
    if experiment.folds is None:
        return None
    return {
        name: assign_folds(data, experiment.folds, places.runs / name / "folds")
        for name, data in experiment.data.items()
    }


def _require_same_settings(
    cells: Iterable[Cell], found: Mapping[Path, CellResult], places: Places
) -> None:
    """Raise a RunError if the result of a cell has other settings, or plug-ins have changed."""
    for cell in cells:
        path = _result_path(cell, places)
        if path not in found:
            continue
        before, now = found[path].settings, settings_of(cell.config)
        changed = [f"{s}.{k}" for s in now for k in now[s] if before.get(s, {}).get(k) != now[s][k]]
        if changed:
            raise RunError(
                f"{path} was made with other settings ({', '.join(changed)}): delete it to run the "
                "cell again, or rename the experiment."
            )
        known = found[path].environment.get("plugins", [])
        changed = [
            f"{one['kind']} '{one['name']}'"
            for one in describe_plugins(cell.config)
            if one not in known
        ]
        if changed:
            raise RunError(
                f"{path} was made with another version of a plug-in ({', '.join(changed)}): delete "
                "it to run the cell again, or rename the experiment."
            )


def _seconds(result: CellResult) -> float:
    return sum(result.seconds.values())


def _run_all(
    name: str,
    pending: Sequence[Cell],
    progress: Progress,
    places: Places,
    jobs: int,
    initializer: Callable[[], None],
) -> None:
    """Train the pending cells in new processes, and show their progress."""
    for cell in pending:  # of an interrupted experiment
        _epoch_path(cell, places).unlink(missing_ok=True)
    with worker_pool(jobs, __name__, initializer, max_tasks_per_child=1) as pool:
        work = {pool.submit(_run_cell, name, cell, places): cell for cell in pending}
        try:
            while work:
                for future in wait(work, SECONDS_PER_LOOK, FIRST_COMPLETED).done:
                    cell = work.pop(future)
                    _finish(future, cell, places)
                    progress.finish(cell, _seconds(read_cell(_result_path(cell, places))))
                progress.show(_running(work.values(), places))
        finally:
            progress.line.close()
            pool.shutdown(cancel_futures=True)


def _running(cells: Iterable[Cell], places: Places) -> dict[Path, str]:
    """Return path of a cell in training -> what it is doing."""
    doing = {}
    for cell in cells:
        with suppress(OSError):  # it has not started, or has ended just now
            doing[cell.path] = _epoch_path(cell, places).read_text("utf-8")
    return doing


def _finish(future: Future[None], cell: Cell, places: Places) -> None:
    try:
        with naming(cell):
            future.result()
    except MvcnError:
        raise
    except BrokenProcessPool as error:
        raise MvcnError(
            "A process of the experiment was killed, perhaps because memory ran out: run the "
            "command again to resume, with a smaller --jobs if necessary."
        ) from error
    except Exception as error:
        log = _run_path(cell, places).with_suffix(".log")
        raise MvcnError(f"Cell {cell.path} failed ({error!r}): see its log, {log}.") from error


def _run_cell(name: str, cell: Cell, places: Places) -> None:
    """Train the cell, write its result, and remove its run folder."""
    folder, epoch = _run_path(cell, places), _epoch_path(cell, places)
    with printing_to_log(folder):
        epoch.write_text("starting", "utf-8")
        run = Run(folder)
        if not run.is_finished:
            callbacks = [EpochFile(epoch, folder)]
            run = train(cell.without_export, folder, resume=run.is_started, callbacks=callbacks)
        write_cell(_result_path(cell, places), _result(name, cell, run))
    epoch.unlink()
    shutil.rmtree(folder)


@contextmanager
def printing_to_log(folder: Path) -> Iterator[None]:
    """Append all output to a log next to a run folder, whose parents are created."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (
        folder.with_suffix(".log").open("a", encoding="utf-8") as log,
        redirect_stdout(log),
        redirect_stderr(log),
    ):
        yield


@dataclass(frozen=True, slots=True)
class _Evaluated:
    """Posts of a cell, and what was predicted for them."""

    posts: Sequence[Post]
    learned: Sequence[Post]
    """Training posts of the model; none where each post is predicted by a member of its own."""
    probabilities: Float[np.ndarray, "batch classes"]
    predicted: Int[np.ndarray, " batch"]
    metrics: Mapping[str, Any]


def _evaluate_held_out(run: Run) -> _Evaluated:
    """Return what the training has predicted for dev posts, or out of fold."""
    posts, held_out = run.posts, "dev" if run.posts.dev else run.held_out
    predictions = run.predictions(held_out)
    evaluated = {row["id"] for row in predictions}
    numbers = {label: number for number, label in enumerate(posts.class_names)}
    columns = probability_columns(posts.class_names)
    metrics = dict(run.metrics[held_out])
    if held_out == run.held_out:  # the posts of the calibration
        metrics |= {"expected_calibration_error": run.metrics["calibration"]["error_before"]}
    return _Evaluated(
        [post for post in posts.dev or posts.train if post.id in evaluated],
        posts.train if posts.dev else [],
        np.array([[float(row[name]) for name in columns] for row in predictions]),
        np.array([numbers[row["predicted"]] for row in predictions]),
        metrics,
    )


def _evaluate_test(cell: Cell, run: Run) -> _Evaluated:
    """Predict the test posts, as `mvcn evaluate` does."""
    posts, policy = read_test_posts(cell.config.data), cell.config.data.on_bad_image
    found = Classifier.from_pretrained(run.folder).evaluate(posts, policy)
    rows, evaluated = found.probabilities, {post.id for post in found.posts}
    return _Evaluated(
        [post for post in posts if post.id in evaluated],
        run.posts.train,
        rows,
        rows.argmax(1),
        found.evaluation.to_mapping(),
    )


def _result(name: str, cell: Cell, run: Run) -> CellResult:
    found = _evaluate_test(cell, run) if cell.split == TEST else _evaluate_held_out(run)
    learned, texts = ([post.text for post in one] for one in (found.learned, found.posts))
    return CellResult(
        name,
        cell.variant,
        cell.data,
        cell.seed,
        cell.fold,
        run.posts.class_names,
        labels=np.array(label_ids(found.posts, run.posts.class_names)),
        predicted=found.predicted,
        probabilities=found.probabilities,
        has_near_duplicate=np.array(have_near_duplicate(learned, texts)),
        posts_digest=fingerprint(found.posts),
        metrics=found.metrics,
        settings=settings_of(cell.config),
        seconds=run.metrics["seconds"],
        environment=run.environment,
        train_posts=run.metrics["posts"]["train"],
        processor_seconds=run.metrics.get("processor_seconds"),
        split=cell.split,
        was_resumed=run.metrics.get("resumed", False),
    )


def _result_path(cell: Cell, places: Places) -> Path:
    return (places.results / cell.path).with_suffix(".json")


def _run_path(cell: Cell, places: Places) -> Path:
    return places.runs / cell.path


def _epoch_path(cell: Cell, places: Places) -> Path:
    """Return the file that says what a running cell is doing."""
    return _run_path(cell, places).with_suffix(".epoch")
