"""``mvcn predict``."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from tqdm import tqdm

from mvcn.cli.bulk import refuse_in_job, run_job
from mvcn.cli.options import (
    BackendName,
    Columns,
    DataName,
    Engine,
    Images,
    Jobs,
    Keep,
    OnBadImage,
    Posts,
    Precision,
    Run,
    Split,
    Splits,
    data_config,
    tell_bad_images,
    tell_left_out,
)
from mvcn.cli.process import prepare_process
from mvcn.config import BadImagePolicy, DataConfig
from mvcn.data.sources import read_posts
from mvcn.errors import ConfigError, RunError
from mvcn.files import require_place_for, require_replaceable, written_whole

if TYPE_CHECKING:
    from mvcn.inference import Prediction

HEADER = "id,label,probability_"
"""How a CSV of predictions begins."""


def predict(
    run: Run,
    posts: Posts = None,
    data: DataName = "table",
    split: Split = None,
    splits: Splits = None,
    columns: Columns = None,
    images: Images = None,
    output: Annotated[
        Path | None,
        typer.Option(help="CSV to write, one row a post; with --engine the folder of the job."),
    ] = None,
    text: Annotated[str, typer.Option(help="Text of a single post.")] = "",
    image: Annotated[Path | None, typer.Option(help="Image of a single post.")] = None,
    on_bad_image: OnBadImage = "error",
    precision: Precision = None,
    backend: BackendName = "torch",
    engine: Engine = None,
    jobs: Jobs = None,
    keep: Keep = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace earlier predictions.")
    ] = False,
) -> None:
    """Classify a table or data set of posts, or one post given by --text and --image."""
    from mvcn.inference import Classifier

    prepare_process()
    least = _least_probability(run, precision)
    if engine is not None:
        refuse_in_job(data, on_bad_image, text=text, image=image, split=split, splits=splits)
        run_job(
            run,
            posts or [],
            engine,
            output,
            backend=backend,
            columns=columns,
            images=images,
            keep=keep,
            min_probability=least,
            jobs=jobs,
            overwrite=overwrite,
        )
    elif jobs or keep:
        raise ConfigError("--jobs and --keep belong to a job: choose its --engine.")
    elif posts:
        if text or image:
            raise ConfigError("Give either a file of posts, or --text and --image, not both.")
        root = _one(posts)
        source = data_config(columns, name=data, root=root, splits=splits, images=images)
        _predict_table(run, source, split, output, on_bad_image, least, backend, overwrite)
    else:
        classifier = Classifier.from_pretrained(run, backend)
        _show(classifier.predict_one(text, image, on_bad_image, least))


def _one(posts: list[str]) -> Path:
    if len(posts) > 1:
        raise ConfigError(f"There are {len(posts)} files of posts: give one, or an --engine.")
    return Path(posts[0])


def _predict_table(
    run: Path,
    source: DataConfig,
    split: str | None,
    output: Path | None,
    on_bad_image: BadImagePolicy,
    least: float,
    backend: BackendName,
    overwrite: bool,
) -> None:
    """Write a CSV with a row for each post of a source."""
    from mvcn.inference import Classifier

    if output is None:
        raise ConfigError("Say where to write the predictions: --output out.csv.")
    require_place_for(output)
    require_replaceable(output, HEADER, "CSV of predictions by mvcn predict")
    if output.is_file() and not overwrite:
        raise RunError(f"{output} exists: choose another file, or replace it by --overwrite.")
    classifier = Classifier.from_pretrained(run, backend)
    table = read_posts(source, split).posts
    predictions = classifier.predict(table, on_bad_image, least)
    problems, unsure = _write(
        output, classifier.class_names, tqdm(predictions, total=len(table), unit="post")
    )
    left_out = _tell(problems)
    typer.echo(f"Wrote {len(table) - left_out} predictions to {output}.")
    if least > 0:
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
) -> tuple[list["Prediction"], int]:
    """Write a row a post; return the posts with a problem, and how many others have no label."""
    problems, unsure = [], 0
    with written_whole(path) as file:
        writer = csv.writer(file)
        writer.writerow(["id", "label", *(f"probability_{name}" for name in class_names)])
        for prediction in predictions:
            if prediction.problem is not None:
                problems.append(prediction)
            if prediction.probabilities:
                writer.writerow(
                    [prediction.id, prediction.label, *prediction.probabilities.values()]
                )
                unsure += prediction.label is None
    return problems, unsure


def _tell(problems: Sequence["Prediction"]) -> int:
    """Say which posts were classified without their image or left out; return how many were."""
    used = {one.id: str(one.problem) for one in problems if one.probabilities}
    left_out = {one.id: str(one.problem) for one in problems if not one.probabilities}
    tell_bad_images(used, "blank")
    tell_left_out(left_out)
    return len(left_out)


def _show(prediction: "Prediction") -> None:
    if prediction.problem is not None:
        _tell([prediction])
    if prediction.probabilities:
        typer.echo(prediction.label or "no class is probable enough")
    for name, probability in prediction.probabilities.items():
        typer.echo(f"  {name:<12} {probability:.3f}")
