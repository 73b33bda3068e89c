"""Pools of worker processes."""

import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from functools import partialmethod
from multiprocessing import active_children, get_all_start_methods, get_context, parent_process
from typing import Any

from tqdm import tqdm

THREADS = "OMP_NUM_THREADS"
CAN_COPY = sys.platform == "linux"
"""Whether `in_copies` works on this system."""
_tasks: Sequence[Callable[[], Any]] = ()
"""Of a copy; see `in_copies`."""


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


def hide_progress_bars() -> None:
    """Have this process, of several, show none."""
    tqdm.__init__ = partialmethod(tqdm.__init__, disable=True)  # type: ignore[assignment, method-assign]


def num_threads() -> int:
    """Return how many threads of this process compute at a time: by default one per core."""
    return int(os.environ.get(THREADS) or os.cpu_count() or 1)


def set_num_threads(threads: int) -> None:
    """Set how many threads of this process compute at a time, in PyTorch, too."""
    os.environ[THREADS] = str(threads)  # PyTorch reads it when it is imported
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


@contextmanager
def in_copies(tasks: Sequence[Callable[[], Any]], workers: int) -> Iterator[list[Future[Any]]]:
    """Yield the results of tasks, as copies of this process compute them.

    A copy shares the memory of what this process has now, so that nothing large has to be sent to
    it. It computes in one thread, since it lacks PyTorch's others. If the block raises an error,
    the copies end at once.

    Args:
        tasks: Any functions, closures too. Their results hold no tensor, which would be lost with
            the memory of the copy.
        workers: Number of copies, each of which takes up one task after the other.
    """
    others = set(active_children())
    with (
        warnings.catch_warnings(action="ignore", category=DeprecationWarning),  # of the threads
        ProcessPoolExecutor(workers, get_context("fork"), _become_copy, (tasks,)) as pool,
    ):
        try:
            yield [pool.submit(_call, number) for number in range(len(tasks))]
        except BaseException:
            # The pool itself waits for their end: to wait here, too, would race with it.
            for process in set(active_children()) - others:
                process.kill()
            raise


def _become_copy(tasks: Sequence[Callable[[], Any]]) -> None:
    global _tasks
    _tasks = tasks
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    hide_progress_bars()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    set_num_threads(1)


def _call(number: int) -> Any:
    return _tasks[number]()


def _initialize(
    environment: Mapping[str, str], threads: int, initializer: Callable[[], None]
) -> None:
    """Set up a process, whose environment would be that of the first pool."""
    os.environ.clear()
    os.environ.update(environment)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    initializer()
    set_num_threads(threads)


def _end_with_parent() -> None:
    """End this process when its parent ends, so that no two processes do the same work."""
    parent = parent_process()
    assert parent is not None  # it has made this process
    parent.join()
    os._exit(1)
