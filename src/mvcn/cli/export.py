"""``mvcn export``."""

from typing import Annotated, Literal

import typer

from mvcn.cli.options import Run
from mvcn.cli.process import set_up_process

MOST_CHANGED = 0.01


def export(
    run: Run,
    format: Annotated[Literal["onnx"], typer.Option(help="Kind of file.")] = "onnx",
    quantize: Annotated[
        Literal["int8"] | None, typer.Option(help="Compute linear layers in eight bits.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier file.")
    ] = False,
) -> None:
    """Write the model as one ONNX graph into its run folder, and compare both on dev posts."""
    from mvcn.inference import export_run

    set_up_process()
    found = export_run(run, is_quantized=quantize is not None, overwrite=overwrite)
    kind = "generated posts, for the dev posts are gone" if found.are_generated else "dev posts"
    typer.echo(
        f"Wrote {found.path}. On {found.posts} {kind}: {found.changed:.2%} get another class, no "
        f"probability differs by more than {found.difference:.1e}."
    )
    if found.changed > MOST_CHANGED:
        typer.echo("That is much: prefer the file without --quantize for this model.", err=True)
