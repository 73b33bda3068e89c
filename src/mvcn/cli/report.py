"""``mvcn report``."""

from pathlib import Path
from typing import Annotated

import typer

from mvcn.cli.options import Run
from mvcn.cli.process import set_up_process
from mvcn.outputs import begins_with, require_own_file


def report(
    run: Run,
    output: Annotated[Path, typer.Option(help="Page to write; replaces an earlier report.")] = Path(
        "report.html"
    ),
) -> None:
    """Write one page on a run: scores, calibration, curves, maps, best and worst posts."""
    from mvcn.explain.run import TrainedRun
    from mvcn.report.run_page import MARK, write_report

    set_up_process()
    require_own_file(output, "report of mvcn report", is_own=begins_with(output, MARK))
    write_report(TrainedRun(run), output)
    typer.echo(f"Open {output} in a browser.")
