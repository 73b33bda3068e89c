"""Speed of bulk jobs, by engine, processes and backend; writes results/bulk.json.

Run from the repository's root: ``python -m scripts.speed.bulk RUN``, a finished run
with graphs. What is measured begins when each worker has finished a shard:
loading a model does not count. Processor time is that of the workers.
"""

import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from scripts import results
from scripts.studies.bulk_faults import Job, workers_of, write_posts

ROWS_A_FILE = 100
SECONDS_BETWEEN_LOOKS = 0.1
MOST_SECONDS = 7200
BILLION = 1_000_000_000
SECONDS_PER_HOUR = 3600
WAYS = {"local, 1 process": ("local", 1), "local, 2": ("local", 2), "Ray, 2": ("ray", 2)}
BACKENDS = ("torch", "onnx")


@dataclass(frozen=True)
class Look:
    """What was seen of a job at one moment."""

    time: float
    shards: int
    """Finished so far."""
    processor_seconds: float
    """Of all workers."""
    peak_mb: float
    """Resident memory of the largest worker."""


def main(
    run: Annotated[Path, typer.Argument(help="Run folder with graphs.")],
    posts: Annotated[int, typer.Option(help="Posts a way, a multiple of 100.")] = 20_000,
) -> None:
    """Measure each way with each backend, one after the other; Ray where it is installed."""
    ways: dict[str, dict[str, Any]] = {backend: {} for backend in BACKENDS}
    engines = {"local"} if find_spec("ray") is None else {"local", "ray"}
    with TemporaryDirectory() as work:
        folder = write_posts(Path(work) / "posts", posts // ROWS_A_FILE, ROWS_A_FILE)
        for backend, found in ways.items():
            for way, (engine, jobs) in WAYS.items():
                if engine not in engines:
                    continue
                options = ("--jobs", str(jobs), "--backend", backend)
                output = Path(work) / f"{backend}-{engine}-{jobs}"
                found[way] = _measure(Job(run, folder, output, engine, options), jobs)
                typer.echo(f"{backend}, {way}: {json.dumps(found[way])}")
    content = {"posts": posts, "cores": os.cpu_count(), "load": os.getloadavg()[2], "ways": ways}
    results.write("bulk", content)


def _measure(job: Job, jobs: int) -> dict[str, float]:
    looks: list[Look] = []
    follow(job, lambda _: looks.append(_look(job)))
    last = max(looks, key=lambda look: look.processor_seconds)
    first = next(look for look in looks if look.shards >= jobs)
    posts = (last.shards - first.shards) * ROWS_A_FILE
    processor = (last.processor_seconds - first.processor_seconds) / posts
    return {
        "posts_per_second": round(posts / (last.time - first.time), 1),
        "processor_ms_per_post": round(1000 * processor, 2),
        "core_hours_per_billion": round(processor * BILLION / SECONDS_PER_HOUR),
        "worker_memory_mb": round(last.peak_mb),
    }


def follow(job: Job, look: Callable[[int], None]) -> float:
    """Run a job to its end; return its seconds.

    Args:
        job: The job.
        look: Called again and again, with the process of the command.

    Raises:
        SystemExit: It failed.
    """
    started, process = time.monotonic(), job.start()
    with ThreadPoolExecutor(1) as reader:  # of what it prints, which fills a pipe otherwise
        ended = reader.submit(job.end, process, MOST_SECONDS)
        while not ended.done():
            look(process.pid)
            time.sleep(SECONDS_BETWEEN_LOOKS)
    code, said = ended.result()
    if code:
        raise SystemExit(said)
    return time.monotonic() - started


def _look(job: Job) -> Look:
    seconds, peak = 0.0, 0.0
    for worker in workers_of(job.engine):
        try:
            seconds += _processor_seconds(worker)
            peak = max(peak, peak_mb(worker))
        except OSError:
            continue  # it has just ended
    return Look(time.monotonic(), len(job.finished()), seconds, peak)


def _processor_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mb(process: int) -> float:
    """Return the most memory that a process has held, in MB; 0 if it does not say."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    kilobytes = [line.split()[1] for line in lines if line.startswith("VmHWM")]
    return int(kilobytes[0]) * 1024 / 1e6 if kilobytes else 0.0


if __name__ == "__main__":
    typer.run(main)
