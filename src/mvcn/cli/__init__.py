"""The command line. Its modules import the heavy ones when a command runs, not for --help."""

import os
import sys
import time
from typing import Annotated

import typer

from mvcn.cli.commands import SETTINGS, Commands
from mvcn.cli.process import RANK, log_to_terminal
from mvcn.errors import REMEDIES, WITHOUT_IMAGE, LostProcessError, MvcnError, missing_extra

EXIT_CODE = 2
WITHOUT_IMAGE_OPTION = "--on-bad-image blank (without image)"
OPTION = f"{WITHOUT_IMAGE_OPTION} or drop (without post)"
SECONDS_FOR_FIRST = 5.0
"""How long other ranks wait before they report the same error; a launcher ends them earlier."""

# OpenMP reads this when torch is loaded. By default, a waiting thread spins for milliseconds, which
# slows down training and all other work on the same machine many times over.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
# Hugging Face's libraries read these when they are imported: their messages are for programmers.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


app = typer.Typer(cls=Commands, no_args_is_help=True, **SETTINGS)


def _print_version(is_requested: bool) -> bool:
    if is_requested:
        from importlib.metadata import version

        typer.echo(version("mvcn"))
        raise typer.Exit
    return is_requested


@app.callback()
def start(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Train, evaluate and use classifiers of posts made of text and image."""
    log_to_terminal()


def main() -> None:
    """Run a command; an error is one sentence and exit code 2."""
    try:
        app(_arguments(sys.argv[1:]))
    except LostProcessError as error:
        time.sleep(SECONDS_FOR_FIRST)
        _fail(str(error))
    except MvcnError as error:
        _fail(str(error).replace(REMEDIES, OPTION).replace(WITHOUT_IMAGE, WITHOUT_IMAGE_OPTION))
    except ModuleNotFoundError as error:
        _fail(str(missing_extra(error, f"mvcn {sys.argv[1]}")))
    except OSError as error:
        _fail(f"{error.strerror or error}: {error.filename or 'a file'}.")


def _arguments(given: list[str]) -> list[str]:
    """Return the arguments; ``predict --engine`` is another way to write ``bulk --engine``."""
    names = {argument.partition("=")[0] for argument in given}
    is_bulk = "--engine" in names and names.isdisjoint(("--text", "--image"))
    return ["bulk", *given[1:]] if is_bulk and given[0] == "predict" else given


def _fail(sentence: str) -> None:
    if RANK > 0:  # all ranks fail alike, so rank 0 reports the error
        time.sleep(SECONDS_FOR_FIRST)
    typer.secho(f"Error: {sentence}", fg=typer.colors.RED, err=True)
    sys.exit(EXIT_CODE)
