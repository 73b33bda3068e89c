"""The command line. Its modules import the heavy ones when a command runs, not for --help."""

import os
import sys
import time

import typer

from mvcn.cli.dataset import audit, prepare, split
from mvcn.cli.evaluate import evaluate
from mvcn.cli.experiment import compare, demo, experiment, tune
from mvcn.cli.explain import explain, report
from mvcn.cli.models import export, models
from mvcn.cli.predict import bulk, predict
from mvcn.cli.process import RANK, log_to_terminal
from mvcn.cli.serve import serve
from mvcn.cli.train import train
from mvcn.data.bad_images import REMEDIES
from mvcn.errors import LostProcessError, MvcnError

EXIT_CODE = 2
OPTION = "--on-bad-image blank (without image) or drop (without post)"
SECONDS_FOR_FIRST = 5.0
"""How long other ranks wait before they report the same error; a launcher ends them earlier."""

# OpenMP reads this when torch is loaded. By default, a waiting thread spins for milliseconds, which
# slows down training and all other work on the same machine many times over.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")


app = typer.Typer(
    help="Train, evaluate and use classifiers of posts made of text and image.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.callback()(log_to_terminal)
for command in (
    *(audit, bulk, compare, demo, evaluate, experiment, explain, export, models),
    *(predict, prepare, report, serve, split, train, tune),
):
    app.command()(command)


def main() -> None:
    """Run a command; an error is one sentence and exit code 2."""
    try:
        app(_arguments(sys.argv[1:]))
    except LostProcessError as error:
        time.sleep(SECONDS_FOR_FIRST)
        _fail(str(error))
    except MvcnError as error:
        _fail(str(error).replace(REMEDIES, OPTION))
    except OSError as error:
        _fail(f"{error.strerror or error}: {error.filename or 'a file'}.")


def _arguments(given: list[str]) -> list[str]:
    """Return the arguments; ``predict --engine`` is another way to write ``bulk --engine``."""
    is_bulk = any(argument.partition("=")[0] == "--engine" for argument in given)
    return ["bulk", *given[1:]] if is_bulk and given[0] == "predict" else given


def _fail(sentence: str) -> None:
    if RANK > 0:  # all ranks fail alike, so rank 0 reports the error
        time.sleep(SECONDS_FOR_FIRST)
    typer.secho(f"Error: {sentence}", fg=typer.colors.RED, err=True)
    sys.exit(EXIT_CODE)
