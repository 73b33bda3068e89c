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
    """Meet the other processes, if there are any, and return which of them this one is."""
    return PartialState(cpu=runs_on_cpu(), timeout=LONGEST_WAIT)


@contextmanager
def together() -> Iterator[PartialState]:
    """Meet the other processes for what they do in the block, as `join_processes` does.

    Raises:
        LostProcessError: One of them has ended.
    """
    try:
        yield join_processes()
    except RuntimeError as error:
        if isinstance(error, torch.distributed.DistError) or "gloo" in str(error):
            raise LostProcessError(
                "Another process of this training has ended, and so does this one: look for what "
                "the other one said."
            ) from error
        raise


def runs_on_cpu() -> bool:
    """Tell whether there is nothing but the CPU to compute on."""
    return not torch.accelerator.is_available()


def require_enough_posts(batch_size: int, processes: int) -> None:
    """Raise a ConfigError where some processes would never have a post."""
    if batch_size < processes:
        raise ConfigError(
            f"Setting 'training.batch_size' is {batch_size}, but {processes} processes share each "
            "batch: give at least as many posts, or start fewer processes."
        )


def own_share(batch: Sequence[Any], rank: int, processes: int) -> Sequence[Any]:
    """Return the posts of a batch that are a process's: neighbours, in the order of ranks.

    The shares differ by one post at most; of a batch with fewer posts than there are processes,
    the last ones have none.
    """
    smallest, larger = divmod(len(batch), processes)
    start = rank * smallest + min(rank, larger)
    return batch[start : start + smallest + (rank < larger)]


class OwnShares(BatchSampler):
    """Of each batch of an order, the share of this process, which may be empty.

    Args:
        order: All posts, the same on each process.
        batch_size: Posts in a batch of all processes together.
        rank: Number of this process, from 0.
        processes: How many there are.
    """

    def __init__(self, order: Sampler[int], batch_size: int, rank: int, processes: int) -> None:
        super().__init__(order, batch_size, drop_last=False)
        self.batch_sampler = order
        """Where the Trainer looks for what to tell the epoch."""
        self.rank = rank
        self.processes = processes

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next."""
        self.batch_sampler.set_epoch(epoch)  # type: ignore[attr-defined]

    def __iter__(self) -> Iterator[list[int]]:
        for batch in super().__iter__():
            yield list(own_share(batch, self.rank, self.processes))


class ShareCollator:
    """Puts the posts of a share together; for an empty one, a post that is not valid.

    Args:
        collator: Makes batches.
        stand_in: The post that stands in, so that this process takes part in every step. Without
            its image, lest a network count what it sees there.
    """

    def __init__(
        self, collator: Callable[[Sequence[Any]], dict[str, Tensor]], stand_in: Mapping[str, Any]
    ) -> None:
        self.collator = collator
        self.stand_in = {**stand_in, "image": None}

    def __call__(self, rows: Sequence[Any]) -> dict[str, Tensor]:
        """Return one batch with the mask of its valid posts."""
        batch = self.collator(rows or [self.stand_in])
        return batch | {"valid_mask": torch.full((len(batch["labels"]),), len(rows) > 0)}


def seed_own_draws(seed: int, step: int, rank: int) -> None:
    """Let this process's dropout differ from that of others and of other steps."""
    mixed = np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0]
    torch.manual_seed(int(mixed))
