"""Kill bulk jobs, fill their disk, count what is left; writes results/bulk-faults.json.

Run from the repository's root: ``python -m scripts.studies.bulk_faults RUN``. A full disk is
a file system in memory, which only root can mount; it is left out for others.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq
import typer

from mvcn.data.synthetic import generate_posts
from scripts import results

MVCN = (sys.executable, "-m", "mvcn", "predict")
WAIT_SECONDS = 600
SECONDS_BETWEEN_LOOKS = 0.1
SMALL_DISK, LARGE_DISK = "96k", "64m"
ENDINGS = ("Wrote ", "Error: ")
MARK = f"MVCN_FAULTS={os.getpid()}"
"""In the environment of all processes that come from here, to kill no other."""
WORKERS = {"local": "multiprocessing.forkserver", "ray": "ray::MapWorker"}
"""Engine -> what the command line of its workers holds, and of what makes local ones."""


@dataclass(frozen=True)
class Job:
    """A job that can be started again and again."""

    run: Path
    posts: Path
    output: Path
    engine: str
    options: tuple[str, ...] = ("--jobs", "2")

    def start(self) -> "subprocess.Popen[str]":
        """Start the command."""
        command = [*MVCN, str(self.run), str(self.posts), "--engine", self.engine]
        command += [*self.options, "--output", str(self.output)]
        pipe = subprocess.PIPE
        environment = {**os.environ, **dict([MARK.split("=")])}
        return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment)

    def end(
        self, process: "subprocess.Popen[str]", seconds: float = WAIT_SECONDS
    ) -> tuple[int, str]:
        """Wait for the end; return the exit code and the sentence that says how it was."""
        output, errors = process.communicate(timeout=seconds)
        said = [line for line in (output + errors).splitlines() if line.startswith(ENDINGS)]
        return process.returncode, said[-1]

    def finished(self) -> dict[str, tuple[int, int]]:
        """Return each finished shard with the inode and the time of its predictions."""
        found = {}
        for path in self.output.glob("predictions/*.parquet"):
            status = path.stat()
            found[path.name] = (status.st_ino, status.st_mtime_ns)
        return found

    def wait_for_shards(self, count: int) -> None:
        """Wait until so many shards are finished."""
        _wait_until(lambda: len(self.finished()) >= count)


def main(
    run: Annotated[Path, typer.Argument(help="Run folder that mvcn train has written.")],
    files: Annotated[int, typer.Option(help="Parquet files, each a shard.")] = 24,
    rows: Annotated[int, typer.Option(help="Rows a file.")] = 200,
) -> None:
    """Break jobs in each way, and count what is in their output after it."""
    with TemporaryDirectory() as work:
        posts = write_posts(Path(work) / "posts", files, rows)
        undisturbed = Job(run, posts, Path(work) / "undisturbed", "local")
        undisturbed.end(undisturbed.start())
        faults = {}
        for engine in WORKERS:
            job = Job(run, posts, Path(work) / f"{engine}-job", engine)
            faults[f"{engine}: job killed"] = kill_job(job) | count(job, undisturbed)
            job = Job(run, posts, Path(work) / f"{engine}-worker", engine)
            faults[f"{engine}: one worker killed"] = kill_worker(job) | count(job, undisturbed)
        if os.geteuid() == 0:
            job = Job(run, posts, Path(work) / "disk", "local")
            faults["local: disk full"] = fill_disk(job, undisturbed)
    content = {"files": files, "rows_in": files * rows, "faults": faults}
    results.write("bulk-faults", content)


def write_posts(folder: Path, files: int, rows: int) -> Path:
    """Write generated posts as Parquet files; the first row of each file is a bad post."""
    folder.mkdir(parents=True)
    posts = [generated.post for generated in generate_posts(rows, seed=0)]
    table = {"text": [post.text for post in posts], "image": [post.image for post in posts]}
    table["image"][0] = b"not an image"
    for number in range(files):
        ids = [f"{number}-{post.id}" for post in posts]
        pq.write_table(pa.table({"id": ids, **table}), folder / f"posts-{number:03d}.parquet")
    return folder


def kill_job(job: Job) -> dict[str, Any]:
    """Kill the process that a user has started, then start the command again."""
    process = job.start()
    job.wait_for_shards(2)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    _wait_until(lambda: not workers_of(job.engine))
    before = job.finished()
    _, said = job.end(job.start())
    return {
        "shards_before": len(before),
        "scored_again": _changed(job, before),
        "said": _without_paths(said, job),
    }


def kill_worker(job: Job) -> dict[str, Any]:
    """Kill one worker; start the command again if the job does not finish."""
    process = job.start()
    job.wait_for_shards(2)
    before = job.finished()
    os.kill(workers_of(job.engine)[0], signal.SIGKILL)
    code, said = job.end(process)
    found = {
        "shards_before": len(before),
        "finished_by_itself": code == 0,
        "said": _without_paths(said, job),
    }
    if code:
        before = job.finished()
        job.end(job.start())
    return found | {"scored_again": _changed(job, before)}


def fill_disk(job: Job, undisturbed: Job) -> dict[str, Any]:
    """Fill the disk of the output, make room, and start the command again."""
    job.output.mkdir()
    _mount(job.output, f"size={SMALL_DISK}", "-t", "tmpfs", "tmpfs")
    try:
        code, said = job.end(job.start())
        if code == 0:
            raise typer.BadParameter(f"so few do not fill a disk of {SMALL_DISK}: give more --rows")
        before = job.finished()
        incomplete = len(list(job.output.rglob("*.partial")))
        _mount(job.output, f"remount,size={LARGE_DISK}")
        job.end(job.start())
        found = {
            "shards_before": len(before),
            "scored_again": _changed(job, before),
            "incomplete_shards": incomplete,
            "said": _without_paths(said, job),
        }
        return found | count(job, undisturbed)
    finally:
        subprocess.run(["umount", str(job.output)], check=True)


def count(job: Job, undisturbed: Job) -> dict[str, Any]:
    """Return the rows of the output, those written twice, and whether its bytes are right."""
    rows = Counter(
        (row["file"], row["row"])
        for kind in ("predictions", "errors")
        for path in job.output.glob(f"{kind}/*.parquet")
        for row in pq.read_table(path, columns=["file", "row"]).to_pylist()
    )
    return {
        "rows_out": rows.total(),
        "rows_twice": sum(times > 1 for times in rows.values()),
        "as_if_nothing_had_happened": _content(job.output) == _content(undisturbed.output),
    }


def _without_paths(said: str, job: Job) -> str:
    """Return a sentence without the temporary folder and the time that it took."""
    return re.sub(r", in [\d.]+ s", "", said.replace(str(job.output), "OUTPUT"))


def _content(output: Path) -> dict[str, bytes]:
    return {str(path.relative_to(output)): path.read_bytes() for path in output.rglob("*.parquet")}


def _changed(job: Job, before: dict[str, tuple[int, int]]) -> int:
    after = job.finished()
    return sum(after[name] != mark for name, mark in before.items())


def workers_of(engine: str) -> list[int]:
    """Return the workers of jobs that this process has started, and of those it has killed."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            command = (place / "cmdline").read_bytes().decode("utf-8", "replace")
            environment = (place / "environ").read_bytes()
            parent = int((place / "stat").read_text("utf-8").rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has ended, or is another user's
        if WORKERS[engine] in command and MARK.encode() in environment:
            found[int(place.name)] = parent
    return [pid for pid, parent in found.items() if engine != "local" or parent in found]


def _mount(place: Path, options: str, *kind: str) -> None:
    subprocess.run(["mount", "-o", options, *kind, str(place)], check=True)


def _wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("A job did not get as far as it should.")
        time.sleep(SECONDS_BETWEEN_LOOKS)


if __name__ == "__main__":
    typer.run(main)
