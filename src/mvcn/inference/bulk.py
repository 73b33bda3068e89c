"""A job over any number of posts: shards scored by an engine, each row exactly once."""

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from tqdm import tqdm

from mvcn.data.formats.posts import columns_of_posts
from mvcn.data.formats.rows import repeated_name
from mvcn.data.stored_files import StoredFile, find_row_files
from mvcn.errors import ConfigError, DataError, RunError
from mvcn.files import write_json
from mvcn.inference import job_folder
from mvcn.inference.local_engine import score_locally
from mvcn.inference.ray_engine import require_ray, score_by_ray
from mvcn.inference.shard_files import count_rows, remove_unfinished
from mvcn.inference.shard_scorer import ERROR_SCHEMA, LABEL, PROBABILITY, Outcome, Scoring
from mvcn.inference.shards import Shard, cut, open_rows, read_footers
from mvcn.outputs import locked
from mvcn.training.run_folder import read_columns

EngineName = Literal["local", "ray"]
Prepare: TypeAlias = Callable[[], None]
Engine: TypeAlias = Callable[[Scoring, Sequence[Shard], int | None, Prepare], Generator[Outcome]]
ENGINES: dict[EngineName, Engine] = {"local": score_locally, "ray": score_by_ray}
NAMED_IN_ERROR = 3


@dataclass(frozen=True, slots=True)
class JobSummary:
    """What a job has written, and what this process did of it."""

    rows: int
    """Of the input; as many as predictions and errors together."""
    predictions: int
    errors: int
    shards: int
    shards_scored_now: int
    seconds: float


def predict_in_bulk(
    scoring: Scoring,
    places: Sequence[str],
    engine: EngineName,
    *,
    jobs: int | None = None,
    overwrite: bool = False,
    prepare: Prepare,
) -> JobSummary:
    """Score all posts of Parquet files or WebDataset shards.

    A job that was cut goes on at its unfinished shards. Below the output folder, ``predictions``
    and ``errors`` have a Parquet file for each shard of the input. Both together have each row of
    the input exactly once.

    Args:
        scoring: How, and where to.
        places: Files, folders, globs or addresses; see `find_row_files`.
        engine: What runs the workers.
        jobs: Workers, each with a model; one a core if None.
        overwrite: Begin anew, whatever job is in the folder.
        prepare: Called first in each worker; a function of a module.

    Raises:
        ConfigError: Columns that do not exist or have a name of ours; the engine needs an extra.
        DataError: A file cannot be read, all shards of others being scored.
        RunError: Another job is in the folder or runs there, or the output cannot be written.
    """
    started = time.monotonic()
    _require_keepable(scoring)
    if engine == "ray":
        require_ray()
    job_folder.require_job_folder(scoring.output)
    files = find_row_files(places)
    _require_apart(scoring.output, places, files)
    names = _columns(files, scoring)
    scoring = replace(scoring, columns=tuple(names.items()))
    inputs = read_footers(files, names, scoring.keep)
    manifest, shards = job_folder.manifest_of(scoring, inputs), cut(inputs, scoring.rows_a_shard)
    with locked(scoring.output, job_folder.KIND):
        job_folder.create_job_folder(scoring.output, manifest, overwrite=overwrite)
        remove_unfinished(scoring.output)
        pending = [shard for shard in shards if count_rows(scoring.output, shard) is None]
        _score(ENGINES[engine], scoring, shards, pending, jobs, prepare)
        predictions, errors = _count(scoring.output, shards)
        counts = (manifest["rows"], predictions, errors, len(shards), len(pending))
        summary = JobSummary(*counts, round(time.monotonic() - started, 1))
        write_json(scoring.output / job_folder.SUMMARY, asdict(summary))
    return summary


def _columns(files: Sequence[StoredFile], scoring: Scoring) -> dict[str, str]:
    """Return our name of each column -> its name in the first file that has any."""
    given, remembered = dict(scoring.columns), read_columns(scoring.run)
    for file in files:
        with closing(open_rows(file)) as rows:
            if rows.schema.names:
                return columns_of_posts(rows, file.path, given, remembered)
    return given


def _require_keepable(scoring: Scoring) -> None:
    twice = repeated_name(scoring.keep)
    if twice is not None:
        raise ConfigError(f"Column '{twice}' is to be kept twice: name it once.")
    for name in scoring.keep:
        if name in (*ERROR_SCHEMA.names, LABEL) or name.startswith(PROBABILITY):
            raise ConfigError(
                f"Column '{name}' cannot be kept: the predictions have one of that name."
            )


def _require_apart(output: Path, places: Sequence[str], files: Sequence[StoredFile]) -> None:
    """Raise a RunError where the output would be input when the job goes on."""
    searched = [place for place in map(Path, places) if place.is_dir()]
    is_inside = any(output.resolve().is_relative_to(place.resolve()) for place in searched)
    if is_inside or any(Path(file.path).is_relative_to(output) for file in files):
        raise RunError(
            f"{output} is where the job looks for posts, so it would find its own predictions: "
            "choose a folder elsewhere."
        )


def _score(
    engine: Engine,
    scoring: Scoring,
    shards: Sequence[Shard],
    pending: Sequence[Shard],
    jobs: int | None,
    prepare: Prepare,
) -> None:
    """Score the pending shards, and show how far the work has got."""
    if not pending:
        return
    rows = {shard.number: shard.rows for shard in pending}
    total = sum(shard.rows for shard in shards)
    problems: list[str] = []
    with tqdm(total=total, initial=total - sum(rows.values()), unit="post") as progress:
        outcomes = engine(scoring, pending, jobs, prepare)
        with closing(outcomes):
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
            f"{' '.join(unique[:NAMED_IN_ERROR])}{more} The others are finished: run the command "
            "again, and they are not scored again."
        )


def _count(output: Path, shards: Sequence[Shard]) -> tuple[int, int]:
    """Return how many predictions and errors there are.

    Raises:
        RunError: A shard does not have each of its rows once.
    """
    predictions = errors = 0
    for shard in shards:
        found = count_rows(output, shard)
        if found is None:
            raise RunError(f"Shard {shard.name} in {output} is gone: run the command again.")
        predictions, errors = predictions + found[0], errors + found[1]
    return predictions, errors
