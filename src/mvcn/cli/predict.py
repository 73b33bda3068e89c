"""``mvcn predict``."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from tqdm import tqdm

from mvcn.cli.options import (
    BackendName,
    Columns,
    DataName,
    Images,
    OnBadImage,
    Run,
    Split,
    Splits,
    data_config,
    tell_bad_images,
)
from mvcn.cli.process import prepare_process
from mvcn.config import BadImagePolicy
from mvcn.data.sources import read_posts
from mvcn.errors import ConfigError, RunError
from mvcn.files import require_place_for, require_replaceable, written_whole

if TYPE_CHECKING:
    from mvcn.inference import Prediction

HEADER = "id,label,probability_"
"""How a CSV of predictions begins."""


def predict(
    run: Run,
    posts: Annotated[
        Path | None, typer.Argument(help="Folder or file of the posts; labels are not needed.")
    ] = None,
    data: DataName = "table",
    split: Split = None,
    splits: Splits = None,
    columns: Columns = None,
    images: Images = None,
    output: Annotated[Path | None, typer.Option(help="CSV to write, one row a post.")] = None,
    text: Annotated[str, typer.Option(help="Text of a single post.")] = "",
    image: Annotated[Path | None, typer.Option(help="Image of a single post.")] = None,
    on_bad_image: OnBadImage = "error",
    precision: Annotated[
        float | None,
        typer.Option(help="Share of the labels given that shall be right; others stay empty."),
    ] = None,
    backend: BackendName = "torch",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier CSV of predictions.")
    ] = False,
) -> None:
    """Classify a table or data set of posts, or one post given by --text and --image."""
    from mvcn.inference import Classifier

    prepare_process()
    least = _least_probability(run, precision)
    if posts is None:
        one = Classifier.from_pretrained(run, backend).predict_one(text, image, on_bad_image, least)
        _show(one, on_bad_image)
        return
    if text or image:
        raise ConfigError("Give either a file of posts, or --text and --image, not both.")
    if output is None:
        raise ConfigError("Say where to write the predictions: --output out.csv.")
    require_place_for(output)
    require_replaceable(output, HEADER, "CSV of predictions by mvcn predict")
    if output.is_file() and not overwrite:
        raise RunError(f"{output} exists: choose another file, or replace it by --overwrite.")
    source = data_config(columns, name=data, root=posts, splits=splits, images=images)
    classifier = Classifier.from_pretrained(run, backend)
    table = read_posts(source, split).posts
    predictions = classifier.predict(table, on_bad_image, least)
    bad, unsure = _write(
        output, classifier.class_names, tqdm(predictions, total=len(table), unit="post")
    )
    tell_bad_images(bad, on_bad_image)
    dropped = len(bad) if on_bad_image == "drop" else 0
    typer.echo(f"Wrote {len(table) - dropped} predictions to {output}.")
    if precision is not None:
        typer.echo(f"{unsure} of them have no label: no class is probable enough.")


def _least_probability(run: Path, precision: float | None) -> float:
    """Return how probable a class must be; say what share of posts gets one, judged on dev."""
    from mvcn.inference import read_threshold

    if precision is None:
        return 0.0
    threshold = read_threshold(run, precision)
    typer.echo(
        f"A label is given from a probability of {threshold.confidence:.3f} on: on dev to "
        f"{threshold.coverage:.0%} of the posts, {threshold.precision:.1%} of them rightly.",
        err=True,
    )
    return threshold.confidence


def _write(
    path: Path, class_names: Iterable[str], predictions: Iterable["Prediction"]
) -> tuple[dict[str, str], int]:
    """Write a row a post; return the posts of bad images, and how many have no label."""
    bad, unsure = {}, 0
    with written_whole(path) as file:
        writer = csv.writer(file)
        writer.writerow(["id", "label", *(f"probability_{name}" for name in class_names)])
        for prediction in predictions:
            if prediction.image_problem is not None:
                bad[prediction.id] = prediction.image_problem
            if prediction.probabilities:
                writer.writerow(
                    [prediction.id, prediction.label, *prediction.probabilities.values()]
                )
                unsure += prediction.label is None
    return bad, unsure


def _show(prediction: "Prediction", policy: BadImagePolicy) -> None:
    if prediction.image_problem is not None:
        tell_bad_images({prediction.id: prediction.image_problem}, policy)
    if prediction.probabilities:
        typer.echo(prediction.label or "no class is probable enough")
    for name, probability in prediction.probabilities.items():
        typer.echo(f"  {name:<12} {probability:.3f}")
