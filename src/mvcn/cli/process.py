"""A command's process: its memory, and what it prints to the terminal."""

import ctypes
import logging
import os
import sys
import warnings
from collections.abc import Mapping

import typer
from tqdm import tqdm

from mvcn.errors import ConfigError, count_of
from mvcn.types import BadImagePolicy
from mvcn.workers import hide_progress_bars

RANK = int(os.environ.get("RANK", "0"))
"""Rank of this process among those started by a launcher; 0 without one."""
PROCESSES = int(os.environ.get("WORLD_SIZE", "1"))
ALLOCATOR = {-3: 1 << 30, -1: 1 << 30, -2: 1 << 28}
"""Parameters of glibc's mallopt: M_MMAP_THRESHOLD, M_TRIM_THRESHOLD and M_TOP_PAD, in bytes."""
OUTCOME = {"blank": "used without it", "drop": "left out"}
NAMED = 10
"""Posts that are named one by one."""


class TerminalHandler(logging.Handler):
    """Writes the library's log to standard error, above any progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one sentence."""
        level = "Warning: " if record.levelno >= logging.WARNING else ""
        try:
            tqdm.write(level + self.format(record), file=sys.stderr)
        except OSError:  # a closed terminal or full disk must not stop the work
            self.handleError(record)


def log_to_terminal() -> None:
    """Show the library's log, but not that of the service, to the user, on rank 0 only."""
    logger = logging.getLogger("mvcn")
    if RANK == 0 and not any(isinstance(h, TerminalHandler) for h in logger.handlers):
        handler = TerminalHandler()
        handler.addFilter(lambda record: not record.name.startswith("mvcn.serve"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False  # some libraries have the root logger print, too


def set_up_process(*, shares_work: bool = False) -> None:
    """Keep freed memory, and silence messages of libraries to programmers.

    Args:
        shares_work: Whether the command can run in several processes.

    Raises:
        ConfigError: It cannot, but a launcher has started several.
    """
    if PROCESSES > 1 and not shares_work:
        raise ConfigError(
            f"{PROCESSES} processes were started, but only mvcn train can use more than one: start "
            "this command without torchrun."
        )
    _keep_freed_memory()
    warnings.filterwarnings("ignore")
    if RANK > 0:  # rank 0 shows the progress of all
        hide_progress_bars()


def _keep_freed_memory() -> None:
    """Let glibc reuse freed blocks instead of asking the kernel for zeroed pages again.

    Large tensors otherwise return their memory at every step; measured in `results/bench.json`.
    This affects the entire process, so the command line does it, not the library. Without glibc,
    nothing is done.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, size in ALLOCATOR.items():
            mallopt(parameter, size)


def print_problems(
    bad: Mapping[str, str], left_out: Mapping[str, str], policy: BadImagePolicy
) -> None:
    """Print which images could not be read, and which posts were left out."""
    print_bad_images({i: why for i, why in bad.items() if i not in left_out}, policy)
    print_left_out(left_out)


def print_bad_images(bad: Mapping[str, str], policy: BadImagePolicy) -> None:
    """Print which images could not be read, and how their posts were used."""
    outcome = OUTCOME.get(policy, "")
    print_posts(
        bad,
        f"image could not be read; its post was {outcome}",
        f"images could not be read; their posts were {outcome.replace(' it', ' them')}",
    )


def print_left_out(left_out: Mapping[str, str]) -> None:
    """Print which posts were left out, and why."""
    print_posts(left_out, "post was left out", "posts were left out")


def print_posts(reasons: Mapping[str, str], one: str, several: str) -> None:
    """Print the number of posts, and the reason for the first of them, to standard error.

    Args:
        reasons: Post id -> reason.
        one: What follows the number 1; see `count_of`.
        several: What follows any other number.
    """
    if reasons:
        typer.echo(f"{count_of(len(reasons), one, several)}:", err=True)
    for post_id, why in list(reasons.items())[:NAMED]:
        typer.echo(f"  post {post_id!r}: {why}", err=True)
    if len(reasons) > NAMED:
        typer.echo(f"  and {len(reasons) - NAMED:,} more.", err=True)
