"""A job over any number of posts: shards scored by an engine, each row exactly once."""

import hashlib
import json
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, TypeAlias

from tqdm import tqdm

from mvcn.data.formats.posts import columns_of_posts
from mvcn.data.formats.rows import repeated_name
from mvcn.data.stored_files import StoredFile, find_row_files
from mvcn.errors import ConfigError, DataError, RunError, require_torch
from mvcn.files import PARTIAL, require_allowed, write_json
from mvcn.inference.bulk.shards import (
    ERRORS,
    PREDICTIONS,
    InputFile,
    Shard,
    count_rows,
    open_rows,
    read_footers,
    read_text_counts,
    split_into_shards,
)
from mvcn.inference.bulk.workers import (
    ERROR_SCHEMA,
    Initializer,
    Outcome,
    Scoring,
    require_ray,
    score_by_ray,
    score_locally,
)
from mvcn.outputs import (
    LOCK,
    locked,
    remove_contents,
    require_output_folder,
    require_same_settings,
)
from mvcn.runtime.graphs import IMAGE_FILE, MODEL_FILE, WEIGHTS_FILE
from mvcn.runtime.text_counts import TextCounts
from mvcn.training import run_folder
from mvcn.types import ATTRIBUTE_MODEL_FOLDER, DISAGREEMENT, LABEL, PROBABILITY

EngineName = Literal["local", "ray"]
Engine: TypeAlias = Callable[
    [Scoring, Sequence[Shard], int | None, Initializer], Generator[Outcome]
]
ENGINES: dict[EngineName, Engine] = {"local": score_locally, "ray": score_by_ray}
KIND = "job"
MANIFEST = "manifest.json"
SUMMARY = "summary.json"
SETTINGS_SUFFIXES = (".json", ".txt", ".model")
"""Suffixes of files next to the weights that determine how posts are read."""
TRAINING_RECORDS = (run_folder.METRICS_FILE, run_folder.ENVIRONMENT_FILE)
"""Files of a run that do not affect its scores."""
PARTS = {"model": "model", "inputs": "input", "mvcn": "version of mvcn"}
"""Key of a manifest -> its name in messages."""
NAMED_IN_ERROR = 3


@dataclass(frozen=True, slots=True)
class JobSummary:
    """What a job has written, and how much of it this process did."""

    rows: int
    """Of the input: the sum of predictions and errors."""
    predictions: int
    errors: int
    shards: int
    shards_scored_now: int
    seconds: float
    text_counts: TextCounts
    """How much of the texts with a prediction was read."""


def predict_in_bulk(
    scoring: Scoring,
    places: Sequence[str],
    engine: EngineName,
    *,
    jobs: int | None = None,
    overwrite: bool = False,
    initializer: Initializer,
) -> JobSummary:
    """Score all posts of Parquet files or WebDataset shards.

    An interrupted job resumes with its unfinished shards. Below the output folder, ``predictions``
    and ``errors`` have a Parquet file for each shard of the input. Both together have each row of
    the input exactly once.

    Args:
        scoring: The run, the output folder and the options.
        places: Files, folders, globs or URLs; see `find_row_files`.
        engine: What runs the workers.
        jobs: Workers, each with a model; one per core if None.
        overwrite: Replace an earlier job in the folder.
        initializer: Called first in each worker; a module-level function.

    Raises:
        ConfigError: A column is missing or has a reserved name, or the engine needs an extra.
        DataError: A file cannot be read; the shards of all others are scored.
        RunError: The folder holds another job or is in use, or the output cannot be written.
    """
    started = time.monotonic()
    _require_keepable(scoring)
    if engine == "ray":
        require_ray()
    if scoring.backend == "torch":
        require_torch("The backend torch")
    output = scoring.output
    is_own = (output / MANIFEST).is_file()
    require_output_folder(output, KIND, is_own=is_own, overwrite=True, ignored=(LOCK,))
    scoring, inputs = _read_inputs(scoring, places)
    manifest = _manifest(scoring, inputs)
    shards = split_into_shards(inputs, scoring.rows_a_shard)
    with locked(output, KIND):
        _create_job_folder(output, manifest, overwrite=overwrite)
        remove_contents(output, (f"{PREDICTIONS}/*{PARTIAL}", f"{ERRORS}/*{PARTIAL}"))
        pending = [shard for shard in shards if count_rows(output, shard) is None]
        _score(ENGINES[engine](scoring, pending, jobs, initializer), shards, pending)
        predictions, errors = _count(output, shards)
        counts = (manifest["rows"], predictions, errors, len(shards), len(pending))
        texts = sum((read_text_counts(output, shard) for shard in shards), TextCounts())
        summary = JobSummary(*counts, round(time.monotonic() - started, 1), texts)
        write_json(output / SUMMARY, asdict(summary))
    return summary


def _read_inputs(scoring: Scoring, places: Sequence[str]) -> tuple[Scoring, list[InputFile]]:
    """Return the job with the names of its columns, and the files of its input."""
    files = find_row_files(places)
    _require_apart(scoring.output, places, files)
    names = _columns(files, scoring)
    inputs = read_footers(files, names, scoring.keep)
    return replace(scoring, columns=tuple(names.items())), inputs


def _columns(files: Sequence[StoredFile], scoring: Scoring) -> dict[str, str]:
    """Return our name of each column -> its name in the first file that has any."""
    given, remembered = dict(scoring.columns), run_folder.Run(scoring.run).columns
    for file in files:
        with closing(open_rows(file)) as rows:
            if rows.schema.names:
                return columns_of_posts(rows, file.path, given, remembered)
    return given


def _require_keepable(scoring: Scoring) -> None:
    if (twice := repeated_name(scoring.keep)) is not None:
        raise ConfigError(f"--keep has the column '{twice}' twice: list it once.")
    for name in scoring.keep:
        if name in (*ERROR_SCHEMA.names, LABEL, DISAGREEMENT) or name.startswith(PROBABILITY):
            raise ConfigError(
                f"--keep {name} is not possible, because the predictions have a column of that "
                "name: rename it."
            )


def _require_apart(output: Path, places: Sequence[str], files: Sequence[StoredFile]) -> None:
    """Raise a RunError if the output would become input when the job resumes."""
    searched = [place for place in map(Path, places) if place.is_dir()]
    is_inside = any(output.resolve().is_relative_to(place.resolve()) for place in searched)
    if is_inside or any(Path(file.path).is_relative_to(output) for file in files):
        raise RunError(
            f"{output} is inside the folder of the posts, so the job would read its own "
            "predictions: choose another --output."
        )


def _manifest(scoring: Scoring, inputs: Sequence[InputFile]) -> dict[str, Any]:
    """Return everything that determines a job's output, as read back from JSON."""
    settings = asdict(scoring) | {"columns": dict(scoring.columns)}
    del settings["run"], settings["output"]
    files = [
        {
            "file": one.file.name,
            "bytes": one.file.size_bytes,
            "rows": one.rows,
            "digest": one.digest,
        }
        for one in inputs
    ]
    manifest = {
        "mvcn": version("mvcn"),
        "model": _fingerprint(scoring),
        "settings": settings,
        "rows": sum(one.rows for one in inputs),
        "inputs": files,
    }
    return dict(json.loads(json.dumps(manifest, default=str)))


def _fingerprint(scoring: Scoring) -> str:
    """Return a digest of the files of a run that determine its scores.

    Raises:
        RunError: The run is not finished, or has neither weights nor graphs.
    """
    run = scoring.run
    require_allowed(run, RunError)
    if not run_folder.Run(run).is_finished:
        raise RunError(f"{run} is not a finished run: use a folder written by mvcn train.")
    settings = [path for path in run.iterdir() if path.suffix in SETTINGS_SUFFIXES]
    files = [path for path in settings if path.name not in TRAINING_RECORDS]
    files += [path for path in (run / ATTRIBUTE_MODEL_FOLDER).rglob("*") if path.is_file()]
    digest = hashlib.blake2b(digest_size=16)
    weights = [run / name for name in (WEIGHTS_FILE, MODEL_FILE, IMAGE_FILE)]
    needed = run / (MODEL_FILE if scoring.backend == "onnx" else WEIGHTS_FILE)
    if not needed.is_file() and not (scoring.backend == "auto" and any(map(Path.is_file, weights))):
        raise RunError(f"There is no {needed}: write it with mvcn train or mvcn export.")
    for path in [*filter(Path.is_file, weights), *sorted(files)]:
        digest.update(f"{path.relative_to(run)}\n".encode())
        require_allowed(path, RunError)
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, hashlib.blake2b).digest())
    return digest.hexdigest()


def _create_job_folder(folder: Path, manifest: Mapping[str, Any], *, overwrite: bool) -> None:
    """Create the folder of a new job, or check that its job can be resumed.

    Raises:
        RunError: It holds a job with another model, input, setting or version.
    """
    path = folder / MANIFEST
    if path.is_file() and not overwrite:
        require_same_settings(folder, KIND, _by_name(_read(path)), _by_name(manifest))
        return
    remove_contents(folder, (PREDICTIONS, ERRORS, SUMMARY))
    for name in (PREDICTIONS, ERRORS):
        (folder / name).mkdir()
    write_json(path, manifest)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise RunError(
            f"{path} is damaged: choose another folder, or start again with --overwrite."
        ) from error
    return content if isinstance(content, dict) else {}


def _by_name(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return each entry and setting of a manifest by its name in messages."""
    parts = {name: manifest.get(part) for part, name in PARTS.items()}
    return parts | dict(manifest.get("settings", {}))


def _score(outcomes: Generator[Outcome], shards: Sequence[Shard], pending: Sequence[Shard]) -> None:
    """Score the pending shards, and show progress."""
    if not pending:
        return
    rows = {shard.number: shard.rows for shard in pending}
    total = sum(shard.rows for shard in shards)
    problems: list[str] = []
    with (
        tqdm(total=total, initial=total - sum(rows.values()), unit="post") as progress,
        closing(outcomes),
    ):
        for outcome in outcomes:
            if outcome.stops_all:
                raise RunError(outcome.problem)
            if outcome.problem:
                problems.append(outcome.problem)
            progress.update(rows[outcome.number])
    if problems:
        unique = list(dict.fromkeys(problems))
        more = f" (and {len(unique) - NAMED_IN_ERROR} more)" if unique[NAMED_IN_ERROR:] else ""
        raise DataError(
            f"{len(problems)} of {len(shards)} shards were not scored: "
            f"{' '.join(unique[:NAMED_IN_ERROR])}{more} Run the command again to score only these."
        )


def _count(output: Path, shards: Sequence[Shard]) -> tuple[int, int]:
    """Return the numbers of predictions and errors.

    Raises:
        RunError: A shard does not have each of its rows once.
    """
    predictions = errors = 0
    for shard in shards:
        found = count_rows(output, shard)
        if found is None:
            raise RunError(
                f"The predictions of shard {shard.name} in {output} are gone: run the command "
                "again."
            )
        predictions, errors = predictions + found[0], errors + found[1]
    return predictions, errors
