"""``mvcn predict`` and ``mvcn bulk``."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from tqdm import tqdm

from mvcn.cli.options import (
    BackendName,
    Dataset,
    Fold,
    OnBadImage,
    Overwrite,
    Precision,
    Run,
    Split,
    Splits,
    Target,
    data_config,
    least_probability,
    reads_posts,
)
from mvcn.cli.process import print_bad_images, print_left_out, print_posts, set_up_process
from mvcn.errors import ConfigError, count_of
from mvcn.types import Post

if TYPE_CHECKING:
    from mvcn.inference.bulk.job import JobSummary
    from mvcn.inference.classifier import Prediction
    from mvcn.inference.prediction_table import PredictionTable


@reads_posts("normalize_labels")
def predict(
    dataset: Dataset,
    run: Run,
    posts: Annotated[
        list[Path] | None,
        typer.Argument(help="Folder or file of the posts; labels are not needed."),
    ] = None,
    split: Split = None,
    splits: Splits = None,
    fold: Fold = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Table to write, as .csv, .tsv, .jsonl, .parquet or .xlsx."),
    ] = None,
    text: Annotated[str, typer.Option(help="Text of a single post.")] = "",
    image: Annotated[Path | None, typer.Option(help="Image of a single post.")] = None,
    on_bad_image: OnBadImage = "error",
    precision: Precision = None,
    backend: BackendName = "auto",
    target: Target = None,
    keep_columns: Annotated[
        bool | None,
        typer.Option(
            "--keep-columns/--no-keep-columns",
            help="Whether the table's own columns come before the predictions; by default they do.",
            show_default=False,
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Classify a table or dataset of posts, or one post given by --text and --image.

    For very many posts, use mvcn bulk.
    """
    from mvcn.data.reading import read_posts, table_options
    from mvcn.inference import prediction_table as tables
    from mvcn.inference.classifier import Classifier
    from mvcn.training import run_folder

    set_up_process()
    run_folder.Run(run).require_model()
    least = least_probability(run, precision, target)
    if posts:
        root = _only(posts, text, image)
        config = data_config(dataset, root=root, splits=splits, fold=fold)
        if output is None:
            raise ConfigError("Predictions need an output file: add --output out.csv.")
        keeps_columns = _keeps_columns(dataset, keep_columns)
        tables.require_place_for_predictions(output, overwrite=overwrite)
        corpus = read_posts(config, split, labels=False, remembered=run_folder.Run(run).columns)
        classifier = Classifier.from_pretrained(run, backend, target=target)
        options, ids = table_options(config, labels=False), corpus.columns.get("id", "")
        kept = tables.KeptCells(root, options, ids) if keeps_columns else None
        table = tables.PredictionTable(output, classifier, kept, on_bad_image == "drop")
        _write(table, corpus.posts, classifier.predict(corpus.posts, on_bad_image, least), least)
        return
    _require_for_one(image, bool(dataset.get("text_only")), keep_columns)
    _require_no_options_for_files(output, overwrite, split, splits, fold)
    classifier = Classifier.from_pretrained(run, backend, target=target)
    _print(classifier.predict_one(text, image, on_bad_image, least))


def _require_for_one(image: Path | None, text_only: bool, keep_columns: bool | None) -> None:
    if image is not None and text_only:
        raise ConfigError("Use either --image or --text-only, not both.")
    if keep_columns is not None:
        raise ConfigError(
            "--keep-columns only works with a table of posts: leave it out for a single post."
        )


def _require_no_options_for_files(*options_for_files: object) -> None:
    if any(options_for_files):
        raise ConfigError(
            "--output, --overwrite, --split, --splits and --fold need a file of posts, as in mvcn "
            "predict posts.csv --output out.csv: leave them out for a single post."
        )


def _only(posts: Sequence[Path], text: str, image: Path | None) -> Path:
    if text or image:
        raise ConfigError("Use either a file of posts, or --text and --image, not both.")
    if len(posts) > 1:
        raise ConfigError(
            f"mvcn predict takes one file of posts, not {len(posts)}: run it once for each."
        )
    return posts[0]


def _keeps_columns(dataset: Dataset, keep_columns: bool | None) -> bool:
    is_table = dataset["name"] == "table"
    if keep_columns and not is_table:
        raise ConfigError(
            f"--keep-columns only works with --data table, not with --data {dataset['name']}: "
            "leave it out."
        )
    return is_table if keep_columns is None else keep_columns


def _write(
    table: "PredictionTable",
    posts: Sequence[Post],
    predictions: Iterable["Prediction"],
    least: float,
) -> None:
    """Write the predictions, and print a summary."""
    problems, unsure = table.write(
        [post.id for post in posts], iter(tqdm(predictions, total=len(posts), unit="post"))
    )
    without = _print_problems(problems, drops=table.drops)
    written = count_of(len(posts) - without, "prediction")
    typer.echo(f"Wrote {written} to {table.path}{table.hint}.")
    if least > 0:
        have = count_of(unsure, "of them has", "of them have")
        typer.echo(f"{have} no label: no class is probable enough.")


def _print_problems(problems: Sequence["Prediction"], *, drops: bool) -> int:
    """Print which posts were classified without their image or not at all; count the latter."""
    used = {one.id: str(one.problem) for one in problems if one.probabilities}
    left_out = {one.id: str(one.problem) for one in problems if not one.probabilities}
    print_bad_images(used, "blank")
    if drops:
        print_left_out(left_out)
    else:
        print_posts(left_out, "post has no label", "posts have no label")
    return len(left_out)


def _print(prediction: "Prediction") -> None:
    if prediction.problem is not None:
        done = "is classified without its image" if prediction.probabilities else "has no label"
        typer.echo(f"The post {done}: {prediction.problem}", err=True)
    if prediction.probabilities:
        typer.echo(prediction.label or "no class is probable enough")
    for name, probability in prediction.probabilities.items():
        typer.echo(f"  {name:<12} {probability:.3f}")
    if prediction.disagreement is not None:
        typer.echo(f"Disagreement of the members: {prediction.disagreement:.3f}")


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
        Literal["local", "ray"], typer.Option(help="Runs workers as processes (local) or with Ray.")
    ] = "local",
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Workers, each with a model; by default one per core.")
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(help="Columns to copy to the predictions, as in --keep user,date."),
    ] = None,
    backend: BackendName = "auto",
    precision: Precision = None,
    overwrite: Overwrite = False,
) -> None:
    """Classify very many posts shard by shard; the same command resumes an interrupted job.

    Posts that cannot be scored go into a table of errors.
    """
    from mvcn.inference.bulk.job import predict_in_bulk
    from mvcn.inference.bulk.workers import Scoring
    from mvcn.training import run_folder

    set_up_process()
    run_folder.Run(run).require_model()
    images: Path | None = dataset.get("images")
    if images is not None and not images.is_dir():
        raise ConfigError(f"The image folder {images} does not exist: check --images.")
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
    _print_summary(done, output)


def _print_summary(done: "JobSummary", output: Path) -> None:
    done.text_counts.log()
    if done.errors:
        failed = count_of(done.errors, "post")
        typer.echo(f"{failed} could not be scored: see {output / 'errors'}.", err=True)
    typer.echo(
        f"Wrote {count_of(done.predictions, 'prediction')} and {count_of(done.errors, 'error')} "
        f"for {count_of(done.rows, 'row')} to {output}: {done.shards_scored_now} of "
        f"{count_of(done.shards, 'shard')} now, in {done.seconds:g} s."
    )
