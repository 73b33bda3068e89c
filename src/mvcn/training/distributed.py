"""The processes that train together, as ``torchrun`` or ``accelerate launch`` has started them."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import numpy as np
import torch
from accelerate import PartialState

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


def seed_rank(seed: int, step: int, rank: int) -> None:
    """Make this process's dropout differ from that of others and of other steps."""
    mixed = np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0]
    torch.manual_seed(int(mixed))
