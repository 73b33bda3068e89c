"""The sharded job of ``mvcn predict --engine``."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mvcn.cli.options import BackendName, Source
from mvcn.cli.process import set_up_process
from mvcn.errors import ConfigError
from mvcn.types import BadImagePolicy

JOB_SETTINGS = ("name", "columns", "images", "text_only")
"""Of a source, what a job takes."""

if TYPE_CHECKING:
    from mvcn.inference import EngineName


def refuse_in_job(source: Source, on_bad_image: BadImagePolicy, **options: object) -> None:
    """Raise a ConfigError where an option was given that a job does not take."""
    options |= {"data": source["name"] != "table", "on-bad-image": on_bad_image != "error"}
    options |= {name: value for name, value in source.items() if name not in JOB_SETTINGS}
    given = [f"--{name.replace('_', '-')}" for name, value in options.items() if value]
    if given:
        raise ConfigError(
            "A job (--engine) reads Parquet files or WebDataset shards and puts bad posts into a "
            f"table of errors: leave out {', '.join(given)}."
        )


def run_job(
    run: Path,
    posts: list[str],
    engine: "EngineName",
    output: Path | None,
    source: Source,
    *,
    backend: BackendName,
    keep: str | None,
    min_probability: float,
    jobs: int | None,
    overwrite: bool,
) -> None:
    """Score Parquet or tar files shard by shard and say what was written."""
    from mvcn.inference import Scoring, predict_in_bulk

    if not posts:
        raise ConfigError(
            "Say which Parquet or tar files to score: a folder, a glob or an address."
        )
    if output is None:
        raise ConfigError("Say where to write the predictions: --output folder.")
    images: Path | None = source.get("images")
    if images is not None and not images.is_dir():
        raise ConfigError(f"There is no folder {images} of images: correct --images.")
    scoring = Scoring(
        run.absolute(),
        output.absolute(),
        backend,
        tuple(source.get("columns", {}).items()),
        None if images is None else images.absolute(),
        tuple(name.strip() for name in keep.split(",")) if keep else (),
        min_probability,
        bool(source.get("text_only")),
    )
    done = predict_in_bulk(
        scoring, posts, engine, jobs=jobs, overwrite=overwrite, initializer=set_up_process
    )
    if done.errors:
        typer.echo(
            f"{done.errors} posts could not be scored: {output / 'errors'} says which and why.",
            err=True,
        )
    typer.echo(
        f"Wrote {done.predictions} predictions and {done.errors} errors for {done.rows} rows to "
        f"{output}: {done.shards_scored_now} of {done.shards} shards now, in {done.seconds:g} s."
    )
