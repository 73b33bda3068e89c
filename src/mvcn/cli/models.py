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
    from mvcn.evaluation import format_table
    from mvcn.experiments.published import list_models

    entries = list_models()
    if as_json:
        typer.echo(json.dumps(entries, indent=2, ensure_ascii=False))
        return
    heading = ("model", "reads", "published on MVSA-Single", "source")
    typer.echo(format_table([heading, *map(_row, entries)]))


def _row(entry: dict[str, Any]) -> tuple[str, str, str, str]:
    result = entry["published"].get("mvsa-single")
    published = f"{result['accuracy']:.2f} / {result['f1']:.2f}" if result else "-"
    return entry["name"], " ".join(entry["inputs"]), published, entry["source"]
