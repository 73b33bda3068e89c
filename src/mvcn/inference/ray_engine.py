"""Score shards by Ray Data, on this machine or on the cluster that RAY_ADDRESS names."""

import logging
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from mvcn.errors import ConfigError, RunError
from mvcn.inference.shard_scorer import Outcome, Scoring, attempt
from mvcn.inference.shards import Shard

ADDRESS = "RAY_ADDRESS"
HERE = "127.0.0.1"
TRIES_A_SHARD = 3
"""How often a shard is tried again whose worker was killed: it may be what kills them."""
MAX_BLOCKS = 10_000
"""Shards are dealt out one by one up to this number, in small groups above it."""
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_DATA_LOG_LEVEL": "ERROR",
}
"""Nothing is sent to Ray's makers, and its notes for programmers stay in its logs."""


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
        prepare: Called first.
    """

    def __init__(
        self, scoring: Scoring, shards: Sequence[Shard], prepare: Callable[[], None]
    ) -> None:
        prepare()
        self._scoring = scoring
        self._shards = shards

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Score a batch of shards; return one outcome a row."""
        outcomes = [asdict(attempt(self._scoring, self._shards[one])) for one in batch["item"]]
        return {name: np.array([one[name] for one in outcomes]) for name in outcomes[0]}


def score_by_ray(
    scoring: Scoring, shards: Sequence[Shard], jobs: int | None, prepare: Callable[[], None]
) -> Generator[Outcome]:
    """Yield what becomes of each shard, as they are finished.

    Args:
        scoring: How; its folders must be in the same place on all machines.
        shards: What to score.
        jobs: Workers, each with a model and a core; one a core of the cluster if None.
        prepare: Called first in each worker; a function of a module.

    Raises:
        ConfigError: Ray is not installed.
        RunError: Ray gives up, as where a shard has killed its workers several times.
    """
    require_ray()
    import ray

    try:
        _start(jobs)
        workers = jobs or _cores()
        for row in _outcomes(scoring, shards, min(workers, len(shards)), prepare):
            yield Outcome(**row)
    except (ray.exceptions.RayError, OSError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[-1].rstrip(".")[:200]
        raise RunError(
            f"Ray gave up ({type(error).__name__}: {reason}): run the command again to go on."
        ) from error
    finally:
        ray.shutdown()


def _cores() -> int:
    import ray

    resources: dict[str, float] = ray.cluster_resources()
    return int(resources["CPU"])


def _start(jobs: int | None) -> None:
    """Connect to a cluster, or start one on this machine that no other can reach by name."""
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    if ADDRESS in os.environ:
        ray.init(logging_level=logging.ERROR, log_to_driver=False)
    else:
        ray.init(
            address="local",
            num_cpus=jobs or os.cpu_count(),
            include_dashboard=False,
            logging_level=logging.ERROR,
            log_to_driver=False,
            _node_ip_address=HERE,
        )
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False


def _outcomes(
    scoring: Scoring, shards: Sequence[Shard], workers: int, prepare: Callable[[], None]
) -> Iterator[dict[str, Any]]:
    import ray

    numbers = ray.data.from_items(
        list(range(len(shards))), override_num_blocks=min(len(shards), MAX_BLOCKS)
    )
    found = numbers.map_batches(
        ShardWorker,
        fn_constructor_args=(scoring, list(shards), prepare),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=1,
        max_task_retries=TRIES_A_SHARD,
    )
    yield from found.iter_rows()
