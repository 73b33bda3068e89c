"""Processes that work for another one."""

import os
import threading
import time
from collections.abc import Callable

import torch

SECONDS_BETWEEN_LOOKS = 1.0


def begin_worker(parent: int, threads: int, prepare: Callable[[], None]) -> None:
    """Make a process ready: it ends with its parent, and takes no more than its share of cores.

    Args:
        parent: Process id.
        threads: That torch may use.
        prepare: Called in this process.
    """
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    prepare()
    torch.set_num_threads(threads)


def _end_with(parent: int) -> None:
    """End this process when its parent is gone, so that no two ever do the same work."""
    while os.getppid() == parent:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    os._exit(1)
