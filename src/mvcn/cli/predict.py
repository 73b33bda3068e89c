"""``mvcn predict``."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from tqdm import tqdm

from mvcn.cli.options import (
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
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier CSV of predictions.")
    ] = False,
) -> None:
    """Classify a table or data set of posts, or one post given by --text and --image."""
    from mvcn.inference import Classifier

    prepare_process()
    if posts is None:
        _show(Classifier.from_pretrained(run).predict_one(text, image, on_bad_image), on_bad_image)
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
    classifier = Classifier.from_pretrained(run)
    table = read_posts(source, split).posts
    predictions = classifier.predict(table, on_bad_image)
    bad = _write(output, classifier.class_names, tqdm(predictions, total=len(table), unit="post"))
    tell_bad_images(bad, on_bad_image)
    dropped = len(bad) if on_bad_image == "drop" else 0
    typer.echo(f"Wrote {len(table) - dropped} predictions to {output}.")


def _write(
    path: Path, class_names: Iterable[str], predictions: Iterable["Prediction"]
) -> dict[str, str]:
    """Write a row a post; return the posts whose image could not be read."""
    bad = {}
    with written_whole(path) as file:
        writer = csv.writer(file)
        writer.writerow(["id", "label", *(f"probability_{name}" for name in class_names)])
        for prediction in predictions:
            if prediction.image_problem is not None:
                bad[prediction.id] = prediction.image_problem
            if prediction.label is not None:
                writer.writerow(
                    [prediction.id, prediction.label, *prediction.probabilities.values()]
                )
    return bad


def _show(prediction: "Prediction", policy: BadImagePolicy) -> None:
    if prediction.image_problem is not None:
        tell_bad_images({prediction.id: prediction.image_problem}, policy)
    if prediction.label is not None:
        typer.echo(prediction.label)
    for name, probability in prediction.probabilities.items():
        typer.echo(f"  {name:<12} {probability:.3f}")
