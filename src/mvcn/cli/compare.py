"""``mvcn compare``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from mvcn.files import atomic_write
from mvcn.outputs import require_new_file


def compare(
    results: Annotated[
        list[Path], typer.Argument(help="Folders of results that mvcn experiment has written.")
    ],
    baseline: Annotated[
        str | None,
        typer.Option(help="Variant that the others are compared with; default the first by name."),
    ] = None,
    form: Annotated[
        Literal["markdown", "latex", "csv"], typer.Option("--format", help="Of the tables.")
    ] = "markdown",
    output: Annotated[Path | None, typer.Option(help="Write here, not to the terminal.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
) -> None:
    """Show the variants of experiments side by side, and say which differences are noise."""
    from mvcn.experiments.compare import compare as compare_cells
    from mvcn.experiments.comparison_tables import render
    from mvcn.experiments.grid import read_cells

    if output is not None:
        require_new_file(output, overwrite=overwrite)
    cells = [cell for folder in results for cell in read_cells(folder)]
    text = render(compare_cells(cells, baseline), form)
    if output is None:
        typer.echo(text, nl=False)
        return
    with atomic_write(output) as file:
        file.write(text)
    typer.echo(f"Wrote {output}.")
