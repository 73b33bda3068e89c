"""Copies of the process of the tests, which need not import anything, to be killed or left."""

import sys
import traceback
from multiprocessing import get_context


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


def _call(function, arguments):
    try:
        function(*arguments)
    except Exception:
        traceback.print_exc()
        sys.exit(1)
