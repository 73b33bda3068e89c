"""``mvcn predict``."""

from collections.abc import Sequence
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
    KeepColumns,
    OnBadImage,
    Posts,
    Precision,
    Predictions,
    Run,
    Source,
    Split,
    Splits,
    data_config,
    reads_posts,
    tell_bad_images,
    tell_left_out,
)
from mvcn.cli.predictions import PredictionTable, kept_cells, require_place_for_predictions
from mvcn.cli.process import set_up_process
from mvcn.config import DataConfig
from mvcn.data.reading import read_posts
from mvcn.errors import ConfigError
from mvcn.types import BadImagePolicy

if TYPE_CHECKING:
    from mvcn.inference import Prediction


@reads_posts("normalize_labels")
def predict(
    source: Source,
    run: Run,
    posts: Posts = None,
    split: Split = None,
    splits: Splits = None,
    output: Predictions = None,
    text: Annotated[str, typer.Option(help="Text of a single post.")] = "",
    image: Annotated[Path | None, typer.Option(help="Image of a single post.")] = None,
    on_bad_image: OnBadImage = "error",
    precision: Precision = None,
    backend: BackendName = "torch",
    engine: Engine = None,
    jobs: Jobs = None,
    keep: Keep = None,
    keep_columns: KeepColumns = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace earlier predictions.")
    ] = False,
) -> None:
    """Classify a table or data set of posts, or one post given by --text and --image."""
    from mvcn.inference import Classifier

    set_up_process()
    least = _least_probability(run, precision)
    if engine is not None:
        own = {"text": text, "image": image, "split": split, "splits": splits}
        refuse_in_job(source, on_bad_image, **own, keep_columns=keep_columns)
        run_job(
            run,
            posts or [],
            engine,
            output,
            source,
            backend=backend,
            keep=keep,
            min_probability=least,
            jobs=jobs,
            overwrite=overwrite,
        )
    elif jobs or keep:
        raise ConfigError("--jobs and --keep belong to a job: choose its --engine.")
    elif posts:
        _predict_table(
            run,
            data_config(source, root=_one(posts, text, image), splits=splits),
            split,
            output,
            on_bad_image,
            least,
            backend,
            keep_columns=_keeps_columns(source, keep_columns),
            overwrite=overwrite,
        )
    else:
        _require_wanted(image, bool(source.get("text_only")), keep_columns)
        classifier = Classifier.from_pretrained(run, backend)
        _show(classifier.predict_one(text, image, on_bad_image, least))


def _keeps_columns(source: Source, keep_columns: bool | None) -> bool:
    is_table = source["name"] == "table"
    if keep_columns and not is_table:
        raise ConfigError(f"--keep-columns is for tables, not for --data {source['name']}.")
    return is_table if keep_columns is None else keep_columns


def _require_wanted(image: Path | None, text_only: bool, keep_columns: bool | None) -> None:
    if image is not None and text_only:
        raise ConfigError("Give either --image or --text-only, not both.")
    if keep_columns is not None:
        raise ConfigError("--keep-columns is for tables: a single post has no columns.")


def _one(posts: list[str], text: str, image: Path | None) -> Path:
    if text or image:
        raise ConfigError("Give either a file of posts, or --text and --image, not both.")
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
    *,
    keep_columns: bool,
    overwrite: bool,
) -> None:
    """Write a table with a row for each post of a source."""
    from mvcn.inference import Classifier
    from mvcn.training import run_folder

    if output is None:
        raise ConfigError("Say where to write the predictions: --output out.csv.")
    require_place_for_predictions(output, overwrite=overwrite)
    corpus = read_posts(source, split, labels=False, remembered=run_folder.Run(run).columns)
    classifier = Classifier.from_pretrained(run, backend)
    kept = kept_cells(source, corpus) if keep_columns else None
    predictions = classifier.predict(corpus.posts, on_bad_image, least)
    table = PredictionTable(output, classifier.class_names, kept, on_bad_image == "drop")
    problems, unsure = table.write(
        [post.id for post in corpus.posts],
        tqdm(predictions, total=len(corpus.posts), unit="post"),
    )
    left_out = _tell(problems, drops=on_bad_image == "drop")
    typer.echo(f"Wrote {len(corpus.posts) - left_out} predictions to {output}{table.hint}.")
    if least > 0:
        typer.echo(f"{unsure} of them have no label: no class is probable enough.")


def _least_probability(run: Path, precision: float | None) -> float:
    """Return how probable a class must be; say what share of posts gets one, judged on dev."""
    from mvcn.training import run_folder

    if precision is None:
        return 0.0
    threshold = run_folder.Run(run).threshold(precision)
    typer.echo(
        f"A label is given from a probability of {threshold.confidence:.3f} on: on dev to "
        f"{threshold.coverage:.0%} of the posts, {threshold.precision:.1%} of them rightly.",
        err=True,
    )
    return threshold.confidence


def _tell(problems: Sequence["Prediction"], *, drops: bool = False) -> int:
    """Say which posts were classified without their image or not at all; return how many not."""
    used = {one.id: str(one.problem) for one in problems if one.probabilities}
    left_out = {one.id: str(one.problem) for one in problems if not one.probabilities}
    tell_bad_images(used, "blank")
    tell_left_out(left_out, "were left out" if drops else "have no label")
    return len(left_out)


def _show(prediction: "Prediction") -> None:
    if prediction.problem is not None:
        _tell([prediction])
    if prediction.probabilities:
        typer.echo(prediction.label or "no class is probable enough")
    for name, probability in prediction.probabilities.items():
        typer.echo(f"  {name:<12} {probability:.3f}")
