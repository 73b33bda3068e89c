"""``mvcn models``."""

import json
from typing import Annotated, Any

import typer


def models(
    as_json: Annotated[
        bool, typer.Option("--json", help="With all published results and options, as JSON.")
    ] = False,
) -> None:
    """List the models that --model trains, what they read, and where they were published."""
    from mvcn.experiments.model_list import list_models

    entries = list_models()
    if as_json:
        typer.echo(json.dumps(entries, indent=2, ensure_ascii=False))
        return
    rows = [("model", "reads", "published on MVSA-Single", "source"), *map(_row, entries)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        typer.echo("  ".join(cells).rstrip())


def _row(entry: dict[str, Any]) -> tuple[str, str, str, str]:
    result = entry["published"].get("mvsa-single")
    published = f"{result['accuracy']:.2f} / {result['f1']:.2f}" if result else "-"
    return entry["name"], " ".join(entry["inputs"]), published, entry["source"]
