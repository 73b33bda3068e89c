"""``mvcn bulk``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from mvcn.cli.options import (
    BackendName,
    Dataset,
    Precision,
    Run,
    least_probability,
    reads_posts,
)
from mvcn.cli.process import set_up_process
from mvcn.errors import ConfigError


@reads_posts("data", "encoding", "quoting", "sheet", "normalize_labels")
def bulk(
    dataset: Dataset,
    run: Run,
    posts: Annotated[
        list[str],
        typer.Argument(
            help="Parquet files or WebDataset shards: folders, files, globs or addresses such as "
            "s3://bucket/posts/*.parquet."
        ),
    ],
    output: Annotated[Path, typer.Option(help="Folder of the job.")],
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="Works in processes here (local) or by Ray.")
    ] = "local",
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Workers, each with a model; else one a core.")
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(help="Columns that come with the predictions, as in --keep user,date."),
    ] = None,
    backend: BackendName = "torch",
    precision: Precision = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier job.")] = False,
) -> None:
    """Classify very many posts shard by shard; interrupted, the same command continues.

    Posts that cannot be scored go into a table of errors.
    """
    from mvcn.inference import Scoring, predict_in_bulk

    set_up_process()
    images: Path | None = dataset.get("images")
    if images is not None and not images.is_dir():
        raise ConfigError(f"There is no folder {images} of images: correct --images.")
    scoring = Scoring(
        run.absolute(),
        output.absolute(),
        backend,
        tuple(dataset.get("columns", {}).items()),
        None if images is None else images.absolute(),
        tuple(name.strip() for name in keep.split(",")) if keep else (),
        least_probability(run, precision),
        bool(dataset.get("text_only")),
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
