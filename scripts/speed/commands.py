"""Whole commands, from the shell's call to the end of the process.

Work: a table of posts with image files as those of `image_features` and texts of generated posts,
and a model of the recipe `default` with five members, with its graphs. Ours is the command as one
types it; the reference is the same with ``--backend torch``, or, for commands that compute nothing,
``python -c 'import typer'``.
"""

import csv
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from mvcn.inference.backends import Backend
from scripts.speed import image_features, members, prediction

TABLES = {"both": ("text", "image"), "texts": ("text",), "images": ("image",)}
Kind = Literal["both", "texts", "images"]
TEXT_FLOPS = 0.45e9
"""Of MiniLM-L6 on a text of some 20 word pieces."""
OTHERS = 4
SPIN = "while True: pass"
MVCN = (sys.executable, "-m", "mvcn")
SILENT = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
KILOBYTE, MEGABYTE = 1024, 1e6


def prepare_nothing(folder: Path, count: int) -> None:
    """Prepare nothing: the command needs no posts."""


def prepare(folder: Path, count: int) -> None:
    """Write the image files, the tables, and the model with its graphs."""
    members.prepare(folder, count, "onnx")
    posts = [one for (one,) in prediction.batches(folder, "timed", 1)]
    for name, columns in TABLES.items():
        with (folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", *columns])
            writer.writerows([post.id, *(getattr(post, c) for c in columns)] for post in posts)


def seconds(folder: Path, *, command: Sequence[str]) -> float:
    """Return how long a command of mvcn takes; the first one fills the caches of the disk."""
    return min(_seconds([*MVCN, *command]) for _ in range(2))


def seconds_of_typer(folder: Path) -> float:
    """Return how long it takes to import what reads the options of a command."""
    return min(_seconds([sys.executable, "-c", "import typer"]) for _ in range(2))


def seconds_of_one(folder: Path, backend: Backend) -> float:
    """Return how long it takes to predict one post."""
    image = str(image_features.image_files(folder, "timed")[0])
    post = ("--text", "a lovely day", "--image", image, "--backend", backend)
    return seconds(folder, command=("predict", _run(folder), *post))


def rate(folder: Path, backend: Backend, kind: Kind) -> float:
    """Return the posts/s of a table, with the start of the process."""
    with (folder / f"{kind}.csv").open(newline="") as file:
        posts = sum(1 for _ in csv.DictReader(file))
    return posts / _seconds(_predict(folder, backend, kind))


def rate_beside_others(folder: Path) -> float:
    """Return the posts/s beside as many processes as compute all the time."""
    with _others():
        return rate(folder, "auto", "both")


def megabytes(folder: Path, backend: Backend) -> float:
    """Return the largest memory of a prediction of the table."""
    process = subprocess.Popen(_predict(folder, backend, "both"), **SILENT)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if status:
        raise SystemExit("The command failed.")
    return used.ru_maxrss * KILOBYTE / MEGABYTE


def limit(folder: Path, rate: float) -> float:
    """Return posts/s if encoding were all, on all cores, at `rate` FLOP/s each."""
    return rate / (image_features.FORWARD_FLOPS + TEXT_FLOPS)


def _predict(folder: Path, backend: Backend, kind: Kind) -> list[str]:
    output = folder / f"{time.time_ns()}.csv"
    table = str(folder / f"{kind}.csv")
    options = ["--backend", backend, "--output", str(output)]
    return [*MVCN, "predict", _run(folder), table, *options]


def _run(folder: Path) -> str:
    return str(folder / str(members.COUNTS[-1]))


def _seconds(command: Sequence[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, **SILENT)
    return time.perf_counter() - started


@contextmanager
def _others() -> Iterator[None]:
    others = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(OTHERS)]
    try:
        yield
    finally:
        for one in others:
            one.kill()
            one.wait()
