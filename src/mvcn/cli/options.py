"""Options that several commands share."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from mvcn.config import BadImagePolicy
from mvcn.data import DATASETS

DataName = Annotated[
    str,
    typer.Option("--data", help=f"Data set: {', '.join(DATASETS)} (CSV with text,image,label)."),
]
Run = Annotated[Path, typer.Argument(help="Run folder that mvcn train has written.")]
OnBadImage = Annotated[
    BadImagePolicy,
    typer.Option(
        help="For an image that cannot be read: error stops, blank goes on without the image, "
        "drop leaves the post out. Always counted."
    ),
]

OUTCOME = {"blank": "used without it", "drop": "left out"}


def given(**values: Any) -> dict[str, Any]:
    """Return the values that were given on the command line."""
    return {name: value for name, value in values.items() if value is not None}


def tell_bad_images(bad: Mapping[str, str], policy: BadImagePolicy) -> None:
    """Say which images could not be read and what became of their posts."""
    if bad:
        typer.echo(
            f"{len(bad)} image(s) could not be read; their posts were {OUTCOME[policy]}:", err=True
        )
    for post_id, why in bad.items():
        typer.echo(f"  post {post_id}: {why}", err=True)
