"""What belongs to a whole process: the allocator, and how much the libraries say."""

import warnings

from mvcn.cli.allocator import keep_freed_memory


def prepare_process() -> None:
    """Keep freed memory, and keep notes meant for programmers off a person's terminal."""
    from transformers.utils import logging  # takes seconds; --help must not wait for it

    keep_freed_memory()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.filterwarnings("ignore")
