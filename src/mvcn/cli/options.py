"""Options that several commands share."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from mvcn.config import BadImagePolicy, DataConfig, RunConfig
from mvcn.data import DATASETS
from mvcn.errors import ConfigError

DataName = Annotated[
    str,
    typer.Option(
        "--data",
        help=f"What the posts are: {', '.join(DATASETS)}. A table is your own file of posts.",
    ),
]
Root = Annotated[Path, typer.Option(help="Folder or file of the posts.")]
Splits = Annotated[
    Path | None,
    typer.Option(help="Folder with train.txt, dev.txt, test.txt, one id a line."),
]
Split = Annotated[str | None, typer.Option(help="Only this part of the posts: train, dev or test.")]
Columns = Annotated[
    str | None,
    typer.Option(help="Names of columns, as in text=tweet,image=photo, where they are not ours."),
]
Images = Annotated[
    Path | None, typer.Option(help="Folder of the images, where it is not beside the posts.")
]
Run = Annotated[Path, typer.Argument(help="Run folder that mvcn train has written.")]
OnBadImage = Annotated[
    BadImagePolicy,
    typer.Option(
        help="For an image that cannot be read: error stops, blank goes on without the image, "
        "drop leaves the post out. Always counted."
    ),
]
BackendName = Annotated[
    Literal["torch", "onnx", "onnx-int8"],
    typer.Option("--backend", help="What computes; onnx runs the file of mvcn export."),
]
Posts = Annotated[
    list[str] | None,
    typer.Argument(
        help="Folder or file of the posts; labels are not needed. With --engine: Parquet files, "
        "folders, globs or addresses such as s3://bucket/posts/*.parquet."
    ),
]
Precision = Annotated[
    float | None,
    typer.Option(help="Share of the labels given that shall be right; others stay empty."),
]
Engine = Annotated[
    Literal["local", "ray"] | None,
    typer.Option(
        help="Score Parquet files shard by shard, in processes here (local) or by Ray; cut, the "
        "same command goes on where it was."
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option(min=1, help="Workers of the engine, each with a model; else one a core."),
]
Keep = Annotated[
    str | None,
    typer.Option(help="Columns that the engine hands through, as in --keep user,date."),
]

OUTCOME = {"blank": "used without it", "drop": "left out"}


def given(**values: Any) -> dict[str, Any]:
    """Return the values that were given on the command line."""
    return {name: value for name, value in values.items() if value is not None}


def data_config(columns: str | None = None, **values: Any) -> DataConfig:
    """Return the settings of a source from what was given on the command line."""
    config = RunConfig()
    config.update({"data": given(columns=parse_columns(columns), **values)})
    return config.data


def parse_columns(text: str | None) -> dict[str, str] | None:
    """Return our name of a column -> its name in the source, from ``ours=theirs,ours=theirs``.

    Raises:
        ConfigError: Not of that form, or a name of ours twice.
    """
    if text is None:
        return None
    columns: dict[str, str] = {}
    for pair in text.split(","):
        ours, _, theirs = (part.strip() for part in pair.partition("="))
        if not ours or not theirs or ours in columns:
            raise ConfigError(f"--columns '{text}' must look like text=tweet,image=photo.")
        columns[ours] = theirs
    return columns


def tell_problems(
    bad: Mapping[str, str], left_out: Mapping[str, str], policy: BadImagePolicy
) -> None:
    """Say which images could not be read and which posts have nothing to read, without those."""
    tell_bad_images({i: why for i, why in bad.items() if i not in left_out}, policy)
    tell_left_out(left_out)


def tell_bad_images(bad: Mapping[str, str], policy: BadImagePolicy) -> None:
    """Say which images could not be read and what became of their posts."""
    if bad:
        typer.echo(
            f"{len(bad)} image(s) could not be read; their posts were {OUTCOME[policy]}:", err=True
        )
    for post_id, why in bad.items():
        typer.echo(f"  post {post_id}: {why}", err=True)


def tell_left_out(left_out: Mapping[str, str]) -> None:
    """Say which posts were left out, and why."""
    if left_out:
        typer.echo(f"{len(left_out)} post(s) were left out:", err=True)
    for post_id, why in left_out.items():
        typer.echo(f"  post {post_id}: {why}", err=True)
