"""Score shards in processes of this machine."""

import os
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool

from mvcn.errors import RunError
from mvcn.inference.shard_scorer import Outcome, Scoring, attempt
from mvcn.inference.shards import Shard
from mvcn.workers import worker_pool


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
    workers = min(jobs or os.cpu_count() or 1, len(shards))
    with worker_pool(workers, __name__, prepare) as pool:
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
