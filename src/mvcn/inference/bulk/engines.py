"""What runs the workers of a job: processes of this machine, or Ray Data."""

import logging
import os
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from typing import TypeAlias

import numpy as np

from mvcn.errors import ConfigError, RunError
from mvcn.inference.bulk.scorer import Outcome, Scoring, attempt
from mvcn.inference.bulk.shards import Shard
from mvcn.workers import worker_pool

Initializer: TypeAlias = Callable[[], None]
RAY_ADDRESS = "RAY_ADDRESS"
"""Environment variable that names a cluster; without it, Ray works on this machine."""
LOCALHOST = "127.0.0.1"
TRIES_A_SHARD = 3
"""How often a shard is tried again whose worker was killed: it may be what kills them."""
MAX_BLOCKS = 10_000
"""Shards are assigned one by one up to this number, in small groups above it."""
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_DATA_LOG_LEVEL": "ERROR",
}
"""Nothing is sent to Ray's makers, and its notes for programmers stay in its logs."""


def score_locally(
    scoring: Scoring, shards: Sequence[Shard], jobs: int | None, initializer: Initializer
) -> Generator[Outcome]:
    """Yield what becomes of each shard, as they are finished, in processes of this machine.

    Args:
        scoring: How.
        shards: What to score.
        jobs: Processes, each with a model, which share the cores between them; one a core if None.
        initializer: Called first in each process; a function of a module.

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
                "A process of the job was killed, perhaps for want of memory: run the command "
                "again to continue, with fewer --jobs if need be."
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def require_ray() -> None:
    """Raise a ConfigError unless Ray is installed."""
    os.environ.update(QUIET)
    try:
        import ray.data  # noqa: F401
    except ImportError as error:
        raise ConfigError("The engine 'ray' needs an extra: pip install 'mvcn[ray]'.") from error


class ShardWorker:
    """An actor of Ray Data with a model.

    Args:
        scoring: How.
        shards: All shards of the job; batches hold positions in it.
        initializer: Called first.
    """

    def __init__(self, scoring: Scoring, shards: Sequence[Shard], initializer: Initializer) -> None:
        initializer()
        self._scoring = scoring
        self._shards = shards

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Score a batch of shards; return one outcome a row."""
        outcomes = [asdict(attempt(self._scoring, self._shards[one])) for one in batch["item"]]
        return {name: np.array([one[name] for one in outcomes]) for name in outcomes[0]}


def score_by_ray(
    scoring: Scoring, shards: Sequence[Shard], jobs: int | None, initializer: Initializer
) -> Generator[Outcome]:
    """Yield what becomes of each shard, on this machine or on the cluster that RAY_ADDRESS names.

    Args:
        scoring: How; its folders must be in the same place on all machines.
        shards: What to score.
        jobs: Workers, each with a model and a core; one a core of the cluster if None.
        initializer: Called first in each worker; a function of a module.

    Raises:
        ConfigError: Ray is not installed.
        RunError: Ray gives up, as where a shard has killed its workers several times.
    """
    require_ray()
    import ray

    try:
        _start_ray(jobs)
        workers = min(jobs or int(ray.cluster_resources()["CPU"]), len(shards))
        blocks = min(len(shards), MAX_BLOCKS)
        numbers = ray.data.from_items(list(range(len(shards))), override_num_blocks=blocks)
        found = numbers.map_batches(
            ShardWorker,
            fn_constructor_args=(scoring, list(shards), initializer),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=1,
            max_task_retries=TRIES_A_SHARD,
        )
        for row in found.iter_rows():
            yield Outcome(**row)
    except (ray.exceptions.RayError, OSError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[-1].rstrip(".")[:200]
        raise RunError(
            f"Ray gave up ({type(error).__name__}: {reason}): run the command again to continue."
        ) from error
    finally:
        ray.shutdown()


def _start_ray(jobs: int | None) -> None:
    """Connect to a cluster, or start one on this machine that no other can reach by name."""
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
