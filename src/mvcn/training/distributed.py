"""The processes that train together, as ``torchrun`` or ``accelerate launch`` has started them."""

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
"""For another process, which may have a million images to encode; the launcher sees a dead one."""


def join_processes() -> PartialState:
    """Wait for the other processes, if there are any, and return which of them this one is."""
    return PartialState(cpu=runs_on_cpu(), timeout=LONGEST_WAIT)


@contextmanager
def together() -> Iterator[PartialState]:
    """Join the other processes, as `join_processes` does, and notice in the block if one has ended.

    Raises:
        LostProcessError: One of them has ended.
    """
    try:
        yield join_processes()
    except RuntimeError as error:
        if isinstance(error, torch.distributed.DistError) or "gloo" in str(error):
            raise LostProcessError(
                "Another process of this training has ended, and so does this one: look for the "
                "error of the other one."
            ) from error
        raise


def runs_on_cpu() -> bool:
    """Return whether the CPU is the only device."""
    return not torch.accelerator.is_available()


def check_batch_size(batch_size: int, processes: int) -> None:
    """Raise a ConfigError where some processes would never have a post."""
    if batch_size < processes:
        raise ConfigError(
            f"Setting 'training.batch_size' is {batch_size}, but {processes} processes share each "
            "batch: give at least as many posts, or start fewer processes."
        )


def rank_batch(batch: Sequence[Any], rank: int, processes: int) -> Sequence[Any]:
    """Return the slice of a batch that belongs to a process, in the order of ranks.

    Slices differ by one post at most; of a batch with fewer posts than there are processes, the
    last ones are empty.
    """
    smallest, larger = divmod(len(batch), processes)
    start = rank * smallest + min(rank, larger)
    return batch[start : start + smallest + (rank < larger)]


class RankBatchSampler(BatchSampler):
    """Samples the rank batches of one process, which may be empty.

    Args:
        order: All posts, the same on each process.
        batch_size: Posts in a batch of all processes together.
        rank: Number of this process, from 0.
        processes: Number of processes.
    """

    def __init__(self, order: Sampler[int], batch_size: int, rank: int, processes: int) -> None:
        super().__init__(order, batch_size, drop_last=False)
        self.batch_sampler = order
        """Under this name the Trainer looks for a sampler whose epoch it sets."""
        self.rank = rank
        self.processes = processes

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next."""
        self.batch_sampler.set_epoch(epoch)  # type: ignore[attr-defined]

    def __iter__(self) -> Iterator[list[int]]:
        for batch in super().__iter__():
            yield list(rank_batch(batch, self.rank, self.processes))


class RankCollator:
    """Collates rank batches; of an empty one, a post that is not valid.

    Args:
        collator: Makes batches.
        filler: The post that fills an empty rank batch, so that this process takes part in every
            step. Its image is left out, lest a network count what it sees there.
    """

    def __init__(
        self, collator: Callable[[Sequence[Any]], dict[str, Tensor]], filler: Mapping[str, Any]
    ) -> None:
        self.collator = collator
        self.filler = {**filler, "image": None}

    def __call__(self, rows: Sequence[Any]) -> dict[str, Tensor]:
        """Return one batch with the mask of its valid posts."""
        batch = self.collator(rows or [self.filler])
        return batch | {"valid_mask": torch.full((len(batch["labels"]),), len(rows) > 0)}


def seed_rank(seed: int, step: int, rank: int) -> None:
    """Make this process's dropout differ from that of others and of other steps."""
    mixed = np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0]
    torch.manual_seed(int(mixed))
