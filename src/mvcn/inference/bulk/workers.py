"""Workers that score shards, and the engines that run them: local processes, or Ray Data."""

import logging
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from mvcn.data.formats.posts import RowBatch, RowFile
from mvcn.errors import DataError, MvcnError, RunError, needs_extra
from mvcn.inference.backends import Backend
from mvcn.inference.bulk.shards import (
    ROWS_A_SHARD,
    Shard,
    count_rows,
    growing_table,
    images_of,
    open_shard,
    output_paths,
)
from mvcn.inference.classifier import Classifier, Prediction
from mvcn.runtime.text_counts import TextCounts
from mvcn.types import LABEL, Post
from mvcn.workers import worker_pool

PLACE = (pa.field("file", pa.string()), pa.field("row", pa.int64()), pa.field("id", pa.string()))
"""Where a row comes from: the input file, the row's number in it (1 is the first), and its id."""
ERROR_SCHEMA = pa.schema([*PLACE, pa.field("reason", pa.string())])
Initializer: TypeAlias = Callable[[], None]
RAY_ADDRESS = "RAY_ADDRESS"
"""Environment variable that names a cluster; without it, Ray works on this machine."""
LOCALHOST = "127.0.0.1"
TRIES_A_SHARD = 3
"""Retries of a shard whose worker was killed; the shard may be the cause."""
MAX_BLOCKS = 10_000
"""Shards are assigned one by one up to this number, in small groups above it."""
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_DATA_LOG_LEVEL": "ERROR",
}
"""Ray sends no usage statistics, and keeps its messages in its own logs."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """How posts are scored, and what is written."""

    run: Path
    output: Path
    """Folder of the job."""
    backend: Backend = "auto"
    columns: tuple[tuple[str, str], ...] = ()
    """Our name of a column and its name in the files, "" for one that they do not have."""
    images: Path | None = None
    """What image paths are relative to; else the folder of each file."""
    keep: tuple[str, ...] = ()
    """Columns to copy to the predictions."""
    min_probability: float = 0.0
    """Smallest probability of a label that is given."""
    text_only: bool = False
    """Ignore images."""
    rows_a_shard: int = ROWS_A_SHARD
    """A file is split after the row group that reaches this."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of scoring a shard."""

    number: int
    predictions: int = 0
    errors: int = 0
    problem: str = ""
    """Why it was not scored, as a sentence; empty where it was."""
    stops_all: bool = False
    """Whether the problem affects all shards."""


class ShardScorer:
    """A loaded model that scores shards.

    Args:
        scoring: The run, the output folder and the options.

    Raises:
        RunError: The run is damaged.
    """

    def __init__(self, scoring: Scoring) -> None:
        self._scoring = scoring
        self._names = dict(scoring.columns)
        if scoring.text_only:
            self._names["image"] = ""
        self._classifier = Classifier.from_pretrained(scoring.run, scoring.backend)

    def score(self, shard: Shard) -> Outcome:
        """Write the predictions and the errors of a shard, unless they exist.

        Raises:
            DataError: The input is damaged, or was changed since the job began.
            RunError: The output cannot be written.
        """
        done = count_rows(self._scoring.output, shard)
        if done is not None:  # by a worker that died before reporting it
            return Outcome(shard.number, *done)
        with closing(open_shard(shard)) as file:
            return self._write(shard, file)

    def _write(self, shard: Shard, file: RowFile) -> Outcome:
        schema = self._schema(file)
        prediction_path, error_path = output_paths(self._scoring.output, shard)
        # The errors are in place first: predictions are in place only if both are.
        with (
            growing_table(prediction_path, schema) as predictions,
            growing_table(error_path, ERROR_SCHEMA) as errors,
        ):
            counts = TextCounts()
            for batch in self._read(shard, file):
                good, bad = self._predict(batch)
                counts += sum((one.text_counts for one in good.values()), TextCounts())
                predictions.add(self._predictions(shard, batch, good, schema))
                errors.add(_errors(shard, batch, bad))
            predictions.add_text_counts(counts)
            rows = predictions.rows + errors.rows
            if rows != shard.rows:
                raise DataError(
                    f"{shard.file.path} is damaged ({rows} rows instead of {shard.rows}): write it "
                    "again."
                )
        return Outcome(shard.number, predictions.rows, errors.rows)

    def _read(self, shard: Shard, file: RowFile) -> Iterator[RowBatch]:
        images = images_of(shard.file, self._scoring.images)
        return file.batches(
            shard.row_groups, shard.first_row, self._names, self._scoring.keep, images
        )

    def _predict(self, batch: RowBatch) -> tuple[dict[int, Prediction], dict[int, str]]:
        """Return position -> prediction, and position -> why there is none."""
        posts: dict[int, Post] = {}
        bad: dict[int, str] = {}
        for position, post in enumerate(batch.posts):
            if isinstance(post, DataError):
                bad[position] = str(post)
            else:
                posts[position] = post
        found = self._classifier.each_prediction(
            posts.values(), "drop", self._scoring.min_probability
        )
        good = dict(zip(posts, found, strict=True))
        bad |= {position: one.problem for position, one in good.items() if one.problem}
        return {position: one for position, one in good.items() if position not in bad}, bad

    def _schema(self, file: RowFile) -> pa.Schema:
        there = file.schema
        kept = [
            there.field(name) if name in there.names else pa.field(name, pa.string())
            for name in self._scoring.keep
        ]
        scores = [pa.field(name, pa.float32()) for name in self._classifier.score_columns]
        return pa.schema([*PLACE, *kept, pa.field(LABEL, pa.string()), *scores])

    def _predictions(
        self, shard: Shard, batch: RowBatch, good: Mapping[int, Prediction], schema: pa.Schema
    ) -> pa.RecordBatch:
        """Return rows of the table of predictions."""
        kept = batch.rows.select(list(self._scoring.keep)).take(pa.array(good, pa.int64()))
        labels = pa.array([prediction.label for prediction in good.values()], pa.string())
        rows = [self._classifier.scores(prediction) for prediction in good.values()]
        width = len(self._classifier.score_columns)
        scores = np.array(rows, np.float32).reshape(len(good), width)
        columns = [*_places(shard, batch, good), *kept.columns, labels, *map(pa.array, scores.T)]
        return pa.record_batch(columns, schema)


def _errors(shard: Shard, batch: RowBatch, bad: Mapping[int, str]) -> pa.RecordBatch:
    """Return rows of the table of errors, in the order of the input."""
    positions = sorted(bad)
    reasons = pa.array([bad[position] for position in positions], pa.string())
    return pa.record_batch([*_places(shard, batch, positions), reasons], ERROR_SCHEMA)


def _places(shard: Shard, batch: RowBatch, positions: Iterable[int]) -> list[pa.Array]:
    """Return the columns of `PLACE`."""
    chosen = list(positions)
    return [
        pa.array([shard.file.name] * len(chosen), pa.string()),
        pa.array([batch.first_row + position for position in chosen], pa.int64()),
        pa.array([batch.ids[position] for position in chosen], pa.string()),
    ]


@lru_cache(maxsize=1)
def _scorer(scoring: Scoring) -> ShardScorer:
    return ShardScorer(scoring)


def attempt(scoring: Scoring, shard: Shard) -> Outcome:
    """Score a shard in a worker, which loads the model for its first one.

    A damaged input file fails its own shards; any other error stops the job.
    """
    try:
        return _scorer(scoring).score(shard)
    except DataError as error:
        return Outcome(shard.number, problem=str(error))
    except MvcnError as error:
        return Outcome(shard.number, problem=str(error), stops_all=True)
    except Exception as error:  # of a library: a worker's traceback reaches no user
        problem = f"Shard {shard.name} of {shard.file.path} failed: {error!r}."
        return Outcome(shard.number, problem=problem, stops_all=True)


def score_locally(
    scoring: Scoring, shards: Sequence[Shard], jobs: int | None, initializer: Initializer
) -> Generator[Outcome]:
    """Yield the outcome of each shard as it finishes, in processes of this machine.

    Args:
        scoring: The run, the output folder and the options.
        shards: What to score.
        jobs: Processes, each with a model, which share the cores; one per core if None.
        initializer: Called first in each process; a module-level function.

    Raises:
        RunError: A process was killed.
    """
    workers = min(jobs or os.cpu_count() or 1, len(shards))
    with worker_pool(workers, __name__, initializer) as pool:
        work = [pool.submit(attempt, scoring, shard) for shard in shards]
        try:
            for future in as_completed(work):
                yield future.result()
        except BrokenProcessPool as error:
            raise RunError(
                "A process of the job was killed, perhaps because memory ran out: run the command "
                "again to resume, with a smaller --jobs if necessary."
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def require_ray() -> None:
    """Raise a ConfigError unless Ray is installed."""
    os.environ.update(QUIET)
    try:
        import ray.data  # noqa: F401
    except ImportError as error:
        raise needs_extra("The engine 'ray'", "ray") from error


class ShardWorker:
    """An actor of Ray Data with a model.

    Args:
        scoring: The run, the output folder and the options.
        shards: All shards of the job; batches hold positions in it.
        initializer: Called first.
    """

    def __init__(self, scoring: Scoring, shards: Sequence[Shard], initializer: Initializer) -> None:
        initializer()
        self._scoring = scoring
        self._shards = shards

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Score a batch of shards; return one outcome per row."""
        outcomes = [asdict(attempt(self._scoring, self._shards[one])) for one in batch["item"]]
        return {name: np.array([one[name] for one in outcomes]) for name in outcomes[0]}


def score_by_ray(
    scoring: Scoring, shards: Sequence[Shard], jobs: int | None, initializer: Initializer
) -> Generator[Outcome]:
    """Yield the outcome of each shard, on this machine or the cluster named by RAY_ADDRESS.

    Args:
        scoring: Its folders must have the same path on all machines.
        shards: What to score.
        jobs: Workers, each with a model and a core; one per core of the cluster if None.
        initializer: Called first in each worker; a module-level function.

    Raises:
        ConfigError: Ray is not installed.
        RunError: Ray gives up, for example because a shard has killed its workers repeatedly.
    """
    require_ray()
    import ray

    try:
        _start_ray(jobs)
        workers = min(jobs or int(ray.cluster_resources()["CPU"]), len(shards))
        yield from _map_shards(scoring, shards, workers, initializer)
    except (ray.exceptions.RayError, OSError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[-1].rstrip(".")[:200]
        raise RunError(
            f"Ray failed ({type(error).__name__}: {reason}): run the command again to resume."
        ) from error
    finally:
        ray.shutdown()


def _map_shards(
    scoring: Scoring, shards: Sequence[Shard], workers: int, initializer: Initializer
) -> Generator[Outcome]:
    import ray.data

    blocks = min(len(shards), MAX_BLOCKS)
    numbers = ray.data.from_items(list(range(len(shards))), override_num_blocks=blocks)
    outcomes = numbers.map_batches(
        ShardWorker,
        fn_constructor_args=(scoring, list(shards), initializer),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=1,
        max_task_retries=TRIES_A_SHARD,
    )
    for row in outcomes.iter_rows():
        yield Outcome(**row)


def _start_ray(jobs: int | None) -> None:
    """Connect to a cluster, or start a local one that no other machine can reach."""
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    if RAY_ADDRESS in os.environ:
        ray.init(logging_level=logging.ERROR, log_to_driver=False)
    else:
        ray.init(
            address="local",
            num_cpus=jobs or os.cpu_count(),
            include_dashboard=False,
            logging_level=logging.ERROR,
            log_to_driver=False,
            _node_ip_address=LOCALHOST,
        )
    ray.data.DataContext.get_current().enable_progress_bars = False
