"""Processes that train together, started by ``torchrun`` or ``accelerate launch``."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor
from torch.utils.data import BatchSampler, Sampler

from mvcn.errors import ConfigError, LostProcessError

LONGEST_WAIT = timedelta(hours=12)
"""For another process, which may have to encode a million images; a dead one stops the launcher."""


def join_processes() -> PartialState:
    """Wait for the other processes, if any, and return the state of this one among them."""
    return PartialState(cpu=runs_on_cpu(), timeout=LONGEST_WAIT)


@contextmanager
def together() -> Iterator[PartialState]:
    """Join the other processes as `join_processes` does, and detect within the block if one ends.

    Raises:
        LostProcessError: One of them has ended.
    """
    try:
        yield join_processes()
    except RuntimeError as error:
        if isinstance(error, torch.distributed.DistError) or "gloo" in str(error):
            raise LostProcessError(
                "Another process of this training has stopped, so this one stops too: see the "
                "error of the other process."
            ) from error
        raise


def runs_on_cpu() -> bool:
    """Return whether the CPU is the only device."""
    return not torch.accelerator.is_available()


def check_batch_size(batch_size: int, processes: int) -> None:
    """Raise a ConfigError if some processes would never have a post."""
    if batch_size < processes:
        raise ConfigError(
            f"Setting 'training.batch_size' is {batch_size}, but {processes} processes share each "
            f"batch: use at least --set training.batch_size={processes}, or start fewer processes."
        )


def seed_rank(seed: int, step: int, rank: int) -> None:
    """Seed torch by rank and step, so that dropout differs between processes."""
    mixed = np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0]
    torch.manual_seed(int(mixed))


def rank_batch(batch: Sequence[Any], rank: int, processes: int) -> Sequence[Any]:
    """Return the slice of a batch that a process trains on; slices are in the order of ranks.

    Their sizes differ by one post at most. If a batch has fewer posts than there are processes, the
    last slices are empty.
    """
    smallest, larger = divmod(len(batch), processes)
    start = rank * smallest + min(rank, larger)
    return batch[start : start + smallest + (rank < larger)]


class RankBatchSampler(BatchSampler):
    """Yields the rank batches of one process, some of which may be empty.

    Args:
        order: Order of all posts, the same on each process.
        batch_size: Posts in a batch, over all processes.
        rank: Number of this process, from 0.
        processes: Number of processes.
    """

    def __init__(self, order: Sampler[int], batch_size: int, rank: int, processes: int) -> None:
        super().__init__(order, batch_size, drop_last=False)
        self.batch_sampler = order
        """The name under which the Trainer looks for the sampler whose epoch it sets."""
        self.rank = rank
        self.processes = processes

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch whose order the next iteration yields."""
        self.batch_sampler.set_epoch(epoch)  # type: ignore[attr-defined]

    def __iter__(self) -> Iterator[list[int]]:
        for batch in super().__iter__():
            yield list(rank_batch(batch, self.rank, self.processes))


class RankCollator:
    """Collates rank batches; an empty one becomes a batch of one invalid post.

    Args:
        collator: Makes batches.
        filler: Post that fills an empty rank batch, so that this process takes part in each step.
            Its image is left out, since networks may keep statistics of images.
    """

    def __init__(
        self, collator: Callable[[Sequence[Any]], dict[str, Tensor]], filler: Mapping[str, Any]
    ) -> None:
        self.collator = collator
        self.filler = {**filler, "image": None}

    def __call__(self, rows: Sequence[Any]) -> dict[str, Tensor]:
        """Return a batch with the mask of its valid posts."""
        batch = self.collator(rows or [self.filler])
        return batch | {"valid_mask": torch.full((len(batch["labels"]),), len(rows) > 0)}
