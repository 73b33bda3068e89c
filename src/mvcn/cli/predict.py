"""``mvcn predict``."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from tqdm import tqdm

from mvcn.cli.options import (
    BackendName,
    Dataset,
    OnBadImage,
    Precision,
    Run,
    Split,
    Splits,
    data_config,
    least_probability,
    reads_posts,
)
from mvcn.cli.predictions import KeptCells, PredictionTable, require_place_for_predictions
from mvcn.cli.process import print_bad_images, print_left_out, set_up_process
from mvcn.data.reading import read_posts, table_options
from mvcn.errors import ConfigError
from mvcn.types import Post

if TYPE_CHECKING:
    from mvcn.inference import Prediction


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
    output: Annotated[
        Path | None,
        typer.Option(
            help="Table to write, one row a post, as its name ends: .csv, .tsv, .jsonl, .parquet "
            "or .xlsx."
        ),
    ] = None,
    text: Annotated[str, typer.Option(help="Text of a single post.")] = "",
    image: Annotated[Path | None, typer.Option(help="Image of a single post.")] = None,
    on_bad_image: OnBadImage = "error",
    precision: Precision = None,
    backend: BackendName = "torch",
    keep_columns: Annotated[
        bool | None,
        typer.Option(
            "--keep-columns/--no-keep-columns",
            help="Whether the table's own columns come before the predictions; by default they do.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace earlier predictions.")
    ] = False,
) -> None:
    """Classify a table or dataset of posts, or one post given by --text and --image.

    For very many posts there is mvcn bulk.
    """
    from mvcn.inference import Classifier
    from mvcn.training import run_folder

    set_up_process()
    least = least_probability(run, precision)
    if not posts:
        _require_for_one(image, bool(dataset.get("text_only")), keep_columns)
        classifier = Classifier.from_pretrained(run, backend)
        _print(classifier.predict_one(text, image, on_bad_image, least))
        return
    root = _only(posts, text, image)
    config = data_config(dataset, root=root, splits=splits)
    if output is None:
        raise ConfigError("Say where to write the predictions: --output out.csv.")
    keeps_columns = _keeps_columns(dataset, keep_columns)
    require_place_for_predictions(output, overwrite=overwrite)
    corpus = read_posts(config, split, labels=False, remembered=run_folder.Run(run).columns)
    classifier = Classifier.from_pretrained(run, backend)
    options, ids = table_options(config, labels=False), corpus.columns.get("id", "")
    kept = KeptCells(root, options, ids) if keeps_columns else None
    table = PredictionTable(output, classifier.class_names, kept, on_bad_image == "drop")
    _write(table, corpus.posts, classifier.predict(corpus.posts, on_bad_image, least), least)


def _require_for_one(image: Path | None, text_only: bool, keep_columns: bool | None) -> None:
    if image is not None and text_only:
        raise ConfigError("Give either --image or --text-only, not both.")
    if keep_columns is not None:
        raise ConfigError("--keep-columns is for tables: a single post has no columns.")


def _only(posts: Sequence[Path], text: str, image: Path | None) -> Path:
    if text or image:
        raise ConfigError("Give either a file of posts, or --text and --image, not both.")
    if len(posts) > 1:
        raise ConfigError(f"There are {len(posts)} files of posts: give one, or use mvcn bulk.")
    return posts[0]


def _keeps_columns(dataset: Dataset, keep_columns: bool | None) -> bool:
    is_table = dataset["name"] == "table"
    if keep_columns and not is_table:
        raise ConfigError(f"--keep-columns is for tables, not for --data {dataset['name']}.")
    return is_table if keep_columns is None else keep_columns


def _write(
    table: PredictionTable,
    posts: Sequence[Post],
    predictions: Iterable["Prediction"],
    least: float,
) -> None:
    """Write a row for each post, and say what has none."""
    problems, unsure = table.write(
        [post.id for post in posts], tqdm(predictions, total=len(posts), unit="post")
    )
    without = _print_problems(problems, "were left out" if table.drops else "have no label")
    typer.echo(f"Wrote {len(posts) - without} predictions to {table.path}{table.hint}.")
    if least > 0:
        typer.echo(f"{unsure} of them have no label: no class is probable enough.")


def _print_problems(problems: Sequence["Prediction"], outcome: str) -> int:
    """Say which posts were classified without their image or not at all; return how many not."""
    used = {one.id: str(one.problem) for one in problems if one.probabilities}
    left_out = {one.id: str(one.problem) for one in problems if not one.probabilities}
    print_bad_images(used, "blank")
    print_left_out(left_out, outcome)
    return len(left_out)


def _print(prediction: "Prediction") -> None:
    if prediction.problem is not None:
        _print_problems([prediction], "have no label")
    if prediction.probabilities:
        typer.echo(prediction.label or "no class is probable enough")
    for name, probability in prediction.probabilities.items():
        typer.echo(f"  {name:<12} {probability:.3f}")
