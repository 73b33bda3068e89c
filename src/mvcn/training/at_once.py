"""Train several members at the same time, each in a copy of this process, and show one bar."""

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context
from typing import Any, TypeVar

import torch
from tqdm import tqdm
from transformers import TrainerCallback

from mvcn.errors import RunError, count_of
from mvcn.model_config import ModelConfig
from mvcn.training.distributed import join_processes
from mvcn.workers import CAN_COPY, in_copies

SECONDS_PER_LOOK = 0.2
T = TypeVar("T")


class _Counter(TrainerCallback):
    """Adds the steps of a Trainer to a number that processes share."""

    def __init__(self, total: Any) -> None:
        self.total = total

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._add(state.global_step)  # of a training that resumes

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._add(1)

    def _add(self, steps: int) -> None:
        with self.total.get_lock():
            self.total.value += steps


def num_at_once(config: ModelConfig) -> int:
    """Return how many members to train at the same time: one on each core, or one on all.

    The steps of networks on frozen encoders are too small to be shared by cores. Copies of a
    process cannot use a GPU.
    """
    frozen = config.frozen_text_layers == "all" and config.freeze_image_encoder
    alone = join_processes().num_processes == 1
    can_copy = CAN_COPY and not torch.accelerator.is_available()
    return torch.get_num_threads() if frozen and alone and can_copy else 1


def fit_at_once(
    fit_one: Callable[..., None],
    members: Sequence[int],
    beside: Callable[[], T],
    at_once: int,
    steps: int,
) -> T:
    """Train members and compute something else, each in a copy of this process.

    Args:
        fit_one: Trains the member of a number, with further callbacks of its Trainer.
        members: Their numbers.
        beside: What is computed, and returned; see `in_copies`.
        at_once: How many of all these run at the same time.
        steps: Of all members.

    Raises:
        RunError: A process was killed.
    """
    total = get_context("fork").Value("q", 0)
    tasks = [partial(fit_one, number, _Counter(total)) for number in members]
    name = count_of(len(members), "member", "members")
    with in_copies([*tasks, beside], at_once) as work, tqdm(total=steps, desc=name) as bar:
        waiting = {*work}
        while waiting:
            done, waiting = wait(waiting, SECONDS_PER_LOOK, FIRST_COMPLETED)
            bar.update(total.value - bar.n)
            for future in done:
                _raise_error(future)
    result: T = work[-1].result()
    return result


def _raise_error(future: Future[Any]) -> None:
    try:
        future.result()
    except BrokenProcessPool as error:
        raise RunError(
            "A process that trains a member was killed, perhaps because memory ran out: continue "
            "with --resume, and with OMP_NUM_THREADS=1 to train one member at a time."
        ) from error
