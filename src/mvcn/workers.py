"""Pools of worker processes."""

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
    """Return a pool of processes that share the cores and end with this process.

    Where the system supports it, they are forked from a process that has imported `module` once,
    which takes longer than many tasks. That process has computed nothing, so that it has no
    threads of PyTorch, which its copies would be missing.

    Args:
        workers: Number of processes.
        module: Name of the module that they import.
        initializer: Function of a module, which each process calls first.
        options: Options of the `ProcessPoolExecutor`.
    """
    can_fork = "forkserver" in get_all_start_methods()
    context = get_context("forkserver" if can_fork else "spawn")
    if can_fork:
        context.set_forkserver_preload([module])
    start = (dict(os.environ), max(1, (os.cpu_count() or 1) // workers), initializer)
    return ProcessPoolExecutor(workers, context, _initialize, start, **options)


def _initialize(
    environment: Mapping[str, str], threads: int, initializer: Callable[[], None]
) -> None:
    """Set up a process, whose environment would be that of the first pool."""
    os.environ.clear()
    os.environ.update(environment)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    initializer()
    torch.set_num_threads(threads)


def _end_with_parent() -> None:
    """End this process when its parent ends, so that no two processes do the same work."""
    parent = parent_process()
    assert parent is not None  # it has made this process
    parent.join()
    os._exit(1)
