"""Score shards in processes of this machine."""

import os
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from mvcn.errors import RunError
from mvcn.inference.shard_scorer import Outcome, Scoring, attempt
from mvcn.inference.shards import Shard
from mvcn.workers import begin_worker


def score_locally(
    scoring: Scoring, shards: Sequence[Shard], jobs: int | None, prepare: Callable[[], None]
) -> Generator[Outcome]:
    """Yield what becomes of each shard, as they are finished.

    Args:
        scoring: How.
        shards: What to score.
        jobs: Processes, each with a model, which share the cores between them; one a core if None.
        prepare: Called first in each process; a function of a module.

    Raises:
        RunError: A process was killed.
    """
    cores = os.cpu_count() or 1
    workers = min(jobs or cores, len(shards))
    start = (os.getpid(), max(1, cores // workers), prepare)
    with ProcessPoolExecutor(workers, get_context("spawn"), begin_worker, start) as pool:
        work = [pool.submit(attempt, scoring, shard) for shard in shards]
        try:
            for future in as_completed(work):
                yield future.result()
        except BrokenProcessPool as error:
            raise RunError(
                "A process of the job was killed, perhaps for want of memory: run the command "
                "again to go on, with fewer --jobs if need be."
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)
