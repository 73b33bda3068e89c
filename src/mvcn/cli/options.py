"""Options that several commands share."""

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import typer

from mvcn.config import DataConfig, RunConfig
from mvcn.data.datasets import DATASETS
from mvcn.errors import ConfigError
from mvcn.types import BadImagePolicy, Quoting

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
    typer.Option(
        help="Names of columns, as in text=tweet,image=photo, where they cannot be told by their "
        "names; label= reads none."
    ),
]
Encoding = Annotated[
    str | None,
    typer.Option(help="Of text files, as Python calls it, such as cp1252; else UTF-8 or UTF-16."),
]
QuotingOption = Annotated[
    Quoting | None,
    typer.Option(
        "--quoting",
        help="Of CSV and TSV: minimal takes quotes as quotes, none as characters; auto finds out.",
    ),
]
Sheet = Annotated[str | None, typer.Option(help="Of an Excel workbook; by default the first.")]
NormalizeLabels = Annotated[
    bool | None,
    typer.Option(
        "--normalize-labels",
        help="Join labels that differ in case or whitespace alone, in lower case.",
        show_default=False,
    ),
]
Images = Annotated[
    Path | None, typer.Option(help="Folder of the images, where it is not beside the posts.")
]
TextOnly = Annotated[
    bool | None,
    typer.Option("--text-only", help="Leave images aside: every post counts as one of text alone."),
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

Predictions = Annotated[
    Path | None,
    typer.Option(
        "--output",
        help="Table to write, one row a post, as its name ends: .csv, .tsv, .jsonl, .parquet or "
        ".xlsx; with --engine the folder of the job.",
    ),
]
KeepColumns = Annotated[
    bool | None,
    typer.Option(
        "--keep-columns/--no-keep-columns",
        help="Whether the table's own columns come before the predictions; by default they do.",
        show_default=False,
    ),
]
Source: TypeAlias = Mapping[str, Any]
"""The settings of a source that were given on the command line; see `reads_posts`."""
SOURCE_OPTIONS: dict[str, tuple[Any, Any]] = {
    "data": (DataName, "table"),
    "columns": (Columns, None),
    "images": (Images, None),
    "text_only": (TextOnly, None),
    "encoding": (Encoding, None),
    "quoting": (QuotingOption, None),
    "sheet": (Sheet, None),
    "normalize_labels": (NormalizeLabels, None),
}
"""Option of every command that reads posts -> its type and its default value."""

OUTCOME = {"blank": "used without it", "drop": "left out"}


def given(**values: Any) -> dict[str, Any]:
    """Return the values that were given on the command line."""
    return {name: value for name, value in values.items() if value is not None}


def reads_posts(*without: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of `SOURCE_OPTIONS`, in place of its parameter ``source``.

    They come to it as a mapping of the settings of `DataConfig` that were given.

    Args:
        without: Options that the command has no use for.
    """
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in SOURCE_OPTIONS.items()
        if name not in without
    ]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def with_source(**values: Any) -> None:
            named = {option.name: values.pop(option.name) for option in options}
            columns = parse_columns(named.pop("columns"))
            command(source=given(name=named.pop("data"), columns=columns, **named), **values)

        all_options = [*_own_options(command), *options]
        signature = inspect.Signature(all_options)
        with_source.__signature__ = signature  # type: ignore[attr-defined]
        with_source.__annotations__ = {one.name: one.annotation for one in all_options}
        return with_source

    return decorate


def _own_options(command: Callable[..., None]) -> list[inspect.Parameter]:
    return [
        option.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for option in inspect.signature(command).parameters.values()
        if option.name != "source"
    ]


def data_config(source: Mapping[str, Any], **values: Any) -> DataConfig:
    """Return the settings of a source from what was given on the command line."""
    config = RunConfig()
    config.update({"data": {**source, **given(**values)}})
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
        if not ours or "=" not in pair or ours in columns:
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


def tell_left_out(left_out: Mapping[str, str], outcome: str = "were left out") -> None:
    """Say which posts were left out, or what else became of them, and why."""
    if left_out:
        typer.echo(f"{len(left_out)} post(s) {outcome}:", err=True)
    for post_id, why in left_out.items():
        typer.echo(f"  post {post_id}: {why}", err=True)
