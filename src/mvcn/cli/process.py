"""What belongs to a whole process: the allocator, how much it says, and its fellow processes."""

import logging
import os
import sys
import warnings
from functools import partialmethod

from tqdm import tqdm

from mvcn.cli.allocator import keep_freed_memory
from mvcn.errors import ConfigError

RANK = int(os.environ.get("RANK", "0"))
"""Number of this process among those that a launcher started; 0 without one."""
PROCESSES = int(os.environ.get("WORLD_SIZE", "1"))


class TerminalHandler(logging.Handler):
    """Writes what the library logs to the standard error, above any progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one sentence."""
        level = "Warning: " if record.levelno >= logging.WARNING else ""
        try:
            tqdm.write(level + self.format(record), file=sys.stderr)
        except OSError:  # a terminal that is gone or a full disk stops no work
            self.handleError(record)


def log_to_terminal() -> None:
    """Show what the library logs to a person; of several processes, the first one alone does."""
    logger = logging.getLogger("mvcn")
    if RANK == 0 and not any(isinstance(h, TerminalHandler) for h in logger.handlers):
        handler = TerminalHandler()
        handler.addFilter(
            lambda record: not record.name.startswith("mvcn.serve")
        )  # has its own log
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)


def set_up_process(*, shares_work: bool = False) -> None:
    """Keep freed memory, and keep notes meant for programmers off a person's terminal.

    Args:
        shares_work: Whether the command knows how to share its work with other processes.

    Raises:
        ConfigError: It does not, and a launcher has started several.
    """
    if PROCESSES > 1 and not shares_work:
        raise ConfigError(
            f"{PROCESSES} processes were started, but of all commands only mvcn train shares its "
            "work: start this one without a launcher."
        )
    from transformers.utils import logging  # takes seconds; --help must not wait for it

    keep_freed_memory()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.filterwarnings("ignore")
    if RANK > 0:  # the first process shows how far all of them are
        tqdm.__init__ = partialmethod(tqdm.__init__, disable=True)  # type: ignore[assignment, method-assign]
