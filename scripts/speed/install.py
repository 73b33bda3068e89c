"""How large each installation is, and how soon it answers; writes results/install.json.

Run from the repository's root: ``python -m scripts.speed.install RUN``, where RUN is a finished run
with graphs. Each installation is made by pip in an empty environment. Seconds are medians of
processes that are started one after the other, when all files have been read before.
"""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from scripts import results

INSTALLATIONS = {
    "pip install .": ".",
    "pip install '.[serve]'": ".[serve]",
    "pip install '.[train]'": ".[train]",
}
REPEATS = 5
MEGABYTE = 1e6
CONSTRAINTS = ("--constraint", "constraints.txt")


def main(run: Annotated[Path, typer.Argument(help="Run folder with graphs.")]) -> None:
    """Measure each installation."""
    with TemporaryDirectory() as folder:
        found = {
            name: _measure(Path(folder, str(number)), package, run)
            for number, (name, package) in enumerate(INSTALLATIONS.items())
        }
    results.write("install", {"installations": found})


def _measure(environment: Path, package: str, run: Path) -> dict[str, Any]:
    _install(environment, package)
    python = environment / "bin" / "python"
    commands: dict[str, Sequence[str | Path]] = {
        "import_seconds": [python, "-c", "from mvcn import Classifier"],
        "help_seconds": [python, "-m", "mvcn", "--help"],
        "predict_seconds": [python, "-m", "mvcn", "predict", run, "--text", "fine"],
    }
    seconds = {name: _seconds(command) for name, command in commands.items()}
    return {"megabytes": round(_size(environment) / MEGABYTE), **seconds}


def _install(environment: Path, package: str) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    pip = [sys.executable, "-m", "pip", "--python", environment / "bin/python", "install"]
    subprocess.run([*pip, "--quiet", "--no-compile", *CONSTRAINTS, package], check=True)


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def _seconds(command: Sequence[str | Path]) -> float:
    """Return how long a process takes; the first ones write bytecode."""
    taken = []
    for _ in range(REPEATS + 1):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        taken.append(time.perf_counter() - started)
    return round(median(taken[1:]), 2)


if __name__ == "__main__":
    typer.run(main)
