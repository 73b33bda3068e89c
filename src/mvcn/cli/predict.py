"""``mvcn predict``."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from tqdm import tqdm

from mvcn.cli.bulk import refuse_in_job, run_job
from mvcn.cli.options import (
    BackendName,
    Engine,
    Jobs,
    Keep,
    OnBadImage,
    Posts,
    Precision,
    Run,
    Source,
    Split,
    Splits,
    data_config,
    reads_posts,
    tell_bad_images,
    tell_left_out,
)
from mvcn.cli.process import prepare_process
from mvcn.config import BadImagePolicy, DataConfig
from mvcn.data.sources import read_posts
from mvcn.data.table_writing import read_column_names, require_writable_table, table_writer
from mvcn.errors import ConfigError, RunError
from mvcn.files import require_place_for

if TYPE_CHECKING:
    from mvcn.inference import Prediction

PROBABILITY = "probability_"
"""How the columns of probabilities begin, which follow that of the label."""


@reads_posts("normalize_labels")
def predict(
    source: Source,
    run: Run,
    posts: Posts = None,
    split: Split = None,
    splits: Splits = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Table to write, one row a post, as its name ends: .csv, .tsv, .jsonl, .parquet "
            "or .xlsx; with --engine the folder of the job."
        ),
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
        refuse_in_job(source, on_bad_image, text=text, image=image, split=split, splits=splits)
        run_job(
            run,
            posts or [],
            engine,
            output,
            backend=backend,
            columns=source.get("columns", {}),
            images=source.get("images"),
            keep=keep,
            min_probability=least,
            text_only=bool(source.get("text_only")),
            jobs=jobs,
            overwrite=overwrite,
        )
    elif jobs or keep:
        raise ConfigError("--jobs and --keep belong to a job: choose its --engine.")
    elif posts:
        if text or image:
            raise ConfigError("Give either a file of posts, or --text and --image, not both.")
        root = _one(posts)
        config = data_config(source, root=root, splits=splits)
        _predict_table(run, config, split, output, on_bad_image, least, backend, overwrite)
    else:
        _require_wanted(image, bool(source.get("text_only")))
        classifier = Classifier.from_pretrained(run, backend)
        _show(classifier.predict_one(text, image, on_bad_image, least))


def _require_wanted(image: Path | None, text_only: bool) -> None:
    if image is not None and text_only:
        raise ConfigError("Give either --image or --text-only, not both.")


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
    """Write a table with a row for each post of a source."""
    from mvcn.inference import Classifier
    from mvcn.training.run_folder import read_columns

    if output is None:
        raise ConfigError("Say where to write the predictions: --output out.csv.")
    require_place_for(output)
    require_writable_table(output)
    _require_free(output, overwrite)
    classifier = Classifier.from_pretrained(run, backend)
    table = read_posts(source, split, labels=False, remembered=read_columns(run)).posts
    predictions = classifier.predict(table, on_bad_image, least)
    problems, unsure = _write(
        output, classifier.class_names, tqdm(predictions, total=len(table), unit="post")
    )
    left_out = _tell(problems)
    typer.echo(f"Wrote {len(table) - left_out} predictions to {output}.")
    if least > 0:
        typer.echo(f"{unsure} of them have no label: no class is probable enough.")


def _require_free(path: Path, overwrite: bool) -> None:
    """Raise a RunError where something is in the way that may not be replaced."""
    if not path.is_file():
        return
    if path.stat().st_size > 0 and not _are_predictions(read_column_names(path)):
        raise RunError(
            f"{path} exists and is no file of predictions by mvcn predict: choose another file."
        )
    if not overwrite:
        raise RunError(f"{path} exists: choose another file, or replace it by --overwrite.")


def _are_predictions(columns: Sequence[str]) -> bool:
    """Tell the columns that end with a label and probabilities."""
    others = [name for name in columns if not name.startswith(PROBABILITY)]
    return "label" in others and list(columns[: len(others)]) == others != list(columns)


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
    columns = ["id", "label", *(f"{PROBABILITY}{name}" for name in class_names)]
    with table_writer(path, columns) as write_row:
        for prediction in predictions:
            if prediction.problem is not None:
                problems.append(prediction)
            if prediction.probabilities:
                write_row([prediction.id, prediction.label, *prediction.probabilities.values()])
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
