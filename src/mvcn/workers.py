"""Processes that work for another one."""

import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_all_start_methods, get_context, parent_process
from typing import Any

import torch


def worker_pool(
    workers: int, module: str, initializer: Callable[[], None], **options: Any
) -> ProcessPoolExecutor:
    """Return processes that share the cores, and that end when this one does.

    Where the system can, they come from a process that has imported what they need once, which
    takes longer than many a task. It has computed nothing: PyTorch has no threads there yet, which
    a copy of the process would lack.

    Args:
        workers: How many.
        module: Name of the module that they need.
        initializer: Called first in each process; a function of a module.
        options: Of the `ProcessPoolExecutor`.
    """
    can_fork = "forkserver" in get_all_start_methods()
    context = get_context("forkserver" if can_fork else "spawn")
    if can_fork:
        context.set_forkserver_preload([module])
    threads = max(1, (os.cpu_count() or 1) // workers)
    start = (dict(os.environ), threads, initializer)
    return ProcessPoolExecutor(workers, context, _begin, start, **options)


def _begin(environment: Mapping[str, str], threads: int, initializer: Callable[[], None]) -> None:
    """Make a process ready; its environment is else as it was when the first one was made."""
    os.environ.clear()
    os.environ.update(environment)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    initializer()
    torch.set_num_threads(threads)


def _end_with_parent() -> None:
    """End this process when its parent is gone, so that no two ever do the same work."""
    parent = parent_process()
    assert parent is not None  # it has made this process
    parent.join()
    os._exit(1)
