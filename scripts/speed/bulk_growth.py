"""How time and memory of a bulk job grow with its posts; writes results/bulk-growth.json.

Run from the repository's root: ``python -m scripts.speed.bulk_growth RUN``, a finished run with
graphs. Posts are copies of a file of 1,000 generated ones with images, and a job of the local
engine scores them. A million posts take hours by a real run, so larger jobs are of the texts alone
by a run with tiny random encoders, which shows what the job itself costs. Time is that of the whole
command. Memory is the sum over its processes of the most that each has held.
"""

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from mvcn.cli.process import set_up_process
from mvcn.training.run import train
from scripts import results
from scripts.speed import large
from scripts.speed.bulk import follow, peak_mb
from scripts.studies.bulk_faults import Job, workers_of, write_posts

ROWS_A_FILE = 1_000
SIZES = (1_000, 10_000, 100_000)
TINY_SIZES = (1_000, 10_000, 100_000, 1_000_000)
REAL, TINY = "the given run", "tiny random encoders, texts alone"


def main(
    run: Annotated[Path, typer.Argument(help="Run folder with graphs.")],
    most: Annotated[int, typer.Option(help="Most posts of the given run.")] = SIZES[-1],
) -> None:
    """Measure each number of posts, by the given run and by a tiny one."""
    set_up_process()
    sizes = [size for size in SIZES if size <= most]
    with TemporaryDirectory() as name:
        work = Path(name)
        grown = {
            REAL: _grow(run, sizes, work),
            TINY: _grow(_tiny_run(work), TINY_SIZES, work, "--text-only"),
        }
    results.write("bulk-growth", {"cores": os.cpu_count(), "jobs": grown})


def _tiny_run(work: Path) -> Path:
    """Train on as many posts as a file has, with tiny encoders."""
    folder = work / "tiny"
    large.generate(ROWS_A_FILE, folder / "posts")
    large.make_encoders(folder)
    large.write_table(ROWS_A_FILE, folder / "posts")
    config = large.config_of(ROWS_A_FILE, folder)
    config.update({"training": {"export": True}})
    train(config, folder / "run")
    return folder / "run"


def _grow(run: Path, sizes: Sequence[int], work: Path, *options: str) -> list[dict[str, Any]]:
    found = []
    for size in sizes:
        folder = work / "job"
        first = next(write_posts(folder / "posts", 1, ROWS_A_FILE).iterdir())
        for number in range(1, size // ROWS_A_FILE):
            os.link(first, first.with_name(f"copy-{number:04d}.parquet"))
        job = Job(run, folder / "posts", folder / "out", "local", ("--jobs", "2", *options))
        found.append({"posts": size, **_measure(job)})
        typer.echo(found[-1])
        shutil.rmtree(folder)
    return found


def _measure(job: Job) -> dict[str, float]:
    peaks: dict[int, float] = {}

    def look(command: int) -> None:
        for number in (command, *workers_of(job.engine)):
            with suppress(OSError):  # it may just have ended
                peaks[number] = peak_mb(number)

    seconds = follow(job, look)
    return {"seconds": round(seconds, 1), "memory_mb": round(sum(peaks.values()))}


if __name__ == "__main__":
    typer.run(main)
