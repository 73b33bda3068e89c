"""Processes that need not import anything: copies of that of the tests, or of one like it."""

import sys
import traceback
from multiprocessing import get_context, set_forkserver_preload


def start_copy(function, *arguments):
    """Call a function in a copy of this process; return the process.

    Changes that it makes to modules are seen in the copy alone. It must compute in one thread.
    """
    process = get_context("fork").Process(target=_call, args=(function, arguments))
    process.start()
    return process


def run_copy(function, *arguments):
    """Do the same until the end of the copy, and return its exit code; negative is a signal."""
    process = start_copy(function, *arguments)
    process.join()
    return process.exitcode


def run_ranks(function, *arguments):
    """Call a function of a module with 0 and 1 before the arguments, in two processes.

    They are forked from one that has imported the module, and has computed nothing: gradients in
    several processes need threads of PyTorch, which a copy of this process would be missing.
    """
    from torch.multiprocessing import start_processes  # takes seconds

    set_forkserver_preload([function.__module__])
    start_processes(function, arguments, nprocs=2, start_method="forkserver")


def _call(function, arguments):
    try:
        function(*arguments)
    except Exception:
        traceback.print_exc()
        sys.exit(1)
