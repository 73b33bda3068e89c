"""``mvcn predict`` and ``mvcn bulk``."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import dropwhile, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from tqdm import tqdm

from mvcn.cli.options import (
    BackendName,
    Dataset,
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
from mvcn.data.formats.columns import is_known
from mvcn.data.formats.posts import id_of_row, require_readable
from mvcn.data.formats.rows import TableOptions
from mvcn.data.reading import read_posts, table_options
from mvcn.data.table import (
    open_table,
    read_column_names,
    require_writable_table,
    table_writer,
)
from mvcn.data.text import replace_surrogates
from mvcn.errors import ConfigError, DataError, count_of
from mvcn.outputs import require_new_file, require_own_file
from mvcn.types import DISAGREEMENT, LABEL, PROBABILITY, Post, StoredImage

if TYPE_CHECKING:
    from mvcn.inference import Classifier, JobSummary, Prediction

LOGGER = logging.getLogger(__name__)
PREDICTED = "predicted_"
"""Prefix of our columns where the table has one of the same name."""
MIDNIGHT = " 00:00:00"
"""Time of a date that was stored without one."""


def require_place_for_predictions(path: Path, *, overwrite: bool) -> None:
    """Raise an error unless the file of predictions can be written.

    Raises:
        ConfigError: The file's suffix is not that of a format that can be written.
        RunError: There is no such folder, or a file that must not be replaced.
    """
    is_own = path.is_file() and (
        path.stat().st_size == 0 or _are_predictions(read_column_names(path))
    )
    require_own_file(path, "file of predictions by mvcn predict", is_own=is_own)
    require_writable_table(path)
    require_new_file(path, overwrite=overwrite)


def _are_predictions(columns: Sequence[str]) -> bool:
    """Return whether columns end with a label and probabilities, and those of an ensemble."""
    names = [name.replace(PREDICTED, "") for name in columns]
    ours = (PROBABILITY, DISAGREEMENT)
    others = list(dropwhile(lambda name: name.startswith(ours), reversed(names)))
    return len(others) < len(names) and others[:1] == [LABEL]


def _unused_name(name: str, others: Sequence[str]) -> str:
    """Return a name that no other column has."""
    while name in others:
        name = f"{PREDICTED}{name}"
    return name


class KeptCells:
    """The original cells of a table, to be written next to the predictions.

    Args:
        path: The table.
        options: How its rows are read.
        id_column: Its column of ids; "" where the number of a row is its id.
    """

    def __init__(self, path: Path, options: TableOptions, id_column: str) -> None:
        self._path = path
        self._table = open_table(path, options)
        self._id_column = id_column

    @cached_property
    def columns(self) -> Sequence[str]:
        """The columns in their order, without those that hold image files."""
        held = {
            name for row in self._table.sample() for name, cell in row.items() if _holds_file(cell)
        }
        for name in held:
            LOGGER.info("The column %r is not kept: its cells are image files.", name)
        return [name for name in self._table.columns if name not in held]

    @property
    def has_ids(self) -> bool:
        """Whether one of the columns is that of the ids."""
        return bool(self._id_column)

    def of(self, ids: Sequence[str]) -> Iterator[list[Any]]:
        """Yield the cells of the rows of some posts, in the order of the columns.

        Args:
            ids: Of the posts, in any order; rows are kept in memory where it is not that of the
                table.

        Raises:
            DataError: The table is not what it was when the posts were read.
        """
        requested, waiting = set(ids), dict[str, list[Any]]()
        rows = self._table.rows(None)
        for post_id in ids:
            while post_id not in waiting:
                row = next(rows, None)
                if row is None:
                    raise DataError(
                        f"{self._path} was changed while its posts were read: try again."
                    )
                if (found := id_of_row(row, self._id_column)) in requested:
                    require_readable(row, self.columns)
                    waiting[found] = [_plain(row.cells.get(name)) for name in self.columns]
            yield waiting.pop(post_id)


def _holds_file(cell: Any) -> bool:
    return isinstance(cell, bytes | StoredImage) or (isinstance(cell, Mapping) and "bytes" in cell)


def _plain(cell: Any) -> Any:
    """Return a cell as JSON has it, times and the like as text."""
    if isinstance(cell, str):
        return replace_surrogates(cell).text
    if cell is None or isinstance(cell, bool | int | float | list | dict):
        return cell
    return str(cell).removesuffix(MIDNIGHT)


@dataclass(frozen=True, slots=True)
class PredictionTable:
    """A table with a row for each post: its original cells, if kept, and its prediction."""

    path: Path
    classifier: "Classifier"
    kept: KeptCells | None
    drops: bool
    """Whether posts without a prediction are omitted; otherwise their cells of ours are empty."""

    @property
    def adds_ids(self) -> bool:
        """Whether a column of ids is added, since the table has none."""
        return self.kept is None or not (self.kept.has_ids or "id" in self.kept.columns)

    @property
    def columns(self) -> list[str]:
        """The names of all columns, ours last."""
        theirs = [] if self.kept is None else list(self.kept.columns)
        # A label of the table, whatever it is called, must not be taken for what was predicted.
        label = f"{PREDICTED}{LABEL}" if any(is_known(one, LABEL) for one in theirs) else LABEL
        ours = [label, *self.classifier.score_columns]
        return [
            *(["id"] if self.adds_ids else []),
            *theirs,
            *(_unused_name(name, theirs) for name in ours),
        ]

    @property
    def hint(self) -> str:
        """Note on a renamed label column; "" if it has its usual name."""
        if f"{PREDICTED}{LABEL}" not in self.columns:
            return ""
        return f" (the class is in the column '{PREDICTED}{LABEL}')"

    def write(
        self, ids: Sequence[str], predictions: Iterable["Prediction"]
    ) -> tuple[list["Prediction"], int]:
        """Write all rows; return the predictions with a problem, and how many others have no label.

        Args:
            ids: Of the posts.
            predictions: One for each.
        """
        problems, unsure = [], 0
        theirs = repeat([], len(ids)) if self.kept is None else self.kept.of(ids)
        with table_writer(self.path, self.columns) as write_row:
            for one, cells in zip(predictions, theirs, strict=True):
                if one.problem is not None:
                    problems.append(one)
                if one.probabilities or not self.drops:
                    own_id = [one.id] if self.adds_ids else []
                    write_row([*own_id, *cells, one.label, *self.classifier.scores(one)])
                    unsure += one.label is None and bool(one.probabilities)
        return problems, unsure


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
        typer.Option(help="Table to write, as .csv, .tsv, .jsonl, .parquet or .xlsx."),
    ] = None,
    text: Annotated[str, typer.Option(help="Text of a single post.")] = "",
    image: Annotated[Path | None, typer.Option(help="Image of a single post.")] = None,
    on_bad_image: OnBadImage = "error",
    precision: Precision = None,
    backend: BackendName = "torch",
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
    from mvcn.inference import Classifier
    from mvcn.training import run_folder

    set_up_process()
    least = least_probability(run, precision, target)
    if not posts:
        _require_for_one(image, bool(dataset.get("text_only")), keep_columns)
        _require_no_options_for_files(output, overwrite, split, splits)
        classifier = Classifier.from_pretrained(run, backend, target=target)
        _print(classifier.predict_one(text, image, on_bad_image, least))
        return
    root = _only(posts, text, image)
    config = data_config(dataset, root=root, splits=splits)
    if output is None:
        raise ConfigError("Say where to write the predictions: --output out.csv.")
    keeps_columns = _keeps_columns(dataset, keep_columns)
    require_place_for_predictions(output, overwrite=overwrite)
    corpus = read_posts(config, split, labels=False, remembered=run_folder.Run(run).columns)
    classifier = Classifier.from_pretrained(run, backend, target=target)
    options, ids = table_options(config, labels=False), corpus.columns.get("id", "")
    kept = KeptCells(root, options, ids) if keeps_columns else None
    table = PredictionTable(output, classifier, kept, on_bad_image == "drop")
    _write(table, corpus.posts, classifier.predict(corpus.posts, on_bad_image, least), least)


def _require_for_one(image: Path | None, text_only: bool, keep_columns: bool | None) -> None:
    if image is not None and text_only:
        raise ConfigError("Give either --image or --text-only, not both.")
    if keep_columns is not None:
        raise ConfigError("--keep-columns is for tables: a single post has no columns.")


def _require_no_options_for_files(*options_for_files: object) -> None:
    if any(options_for_files):
        raise ConfigError(
            "--output, --overwrite, --split and --splits are for files of posts: name one, or "
            "leave them out for the single post."
        )


def _only(posts: Sequence[Path], text: str, image: Path | None) -> Path:
    if text or image:
        raise ConfigError("Give either a file of posts, or --text and --image, not both.")
    if len(posts) > 1:
        raise ConfigError(f"There are {len(posts)} files of posts: give one at a time.")
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
    """Write the predictions, and print a summary."""
    problems, unsure = table.write(
        [post.id for post in posts], tqdm(predictions, total=len(posts), unit="post")
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
        _print_problems([prediction], drops=False)
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
    backend: BackendName = "torch",
    precision: Precision = None,
    overwrite: Overwrite = False,
) -> None:
    """Classify very many posts shard by shard; the same command resumes an interrupted job.

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
