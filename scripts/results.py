"""The files of results/ that the commands of this folder write and `scripts.tables` reads."""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from scipy.stats import t as student

from mvcn.files import write_json
from mvcn.training.environment import describe_environment

RESULTS = Path("results")


def read(name: str) -> Any:
    """Return the content of results/NAME.json; nothing if there is no such file."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def write(name: str, content: Mapping[str, Any]) -> None:
    """Write results/NAME.json, with the versions that the content was measured with."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    write_json(path, {**content, "environment": describe_environment()})
    typer.echo(f"Wrote {path}.")


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return mean and sample standard deviation of a measure over seeds."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": statistics.mean(values), "deviation": deviation, "n": len(values)}


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean of a measure over seeds, and its 95 % interval by Student's t."""
    mean = statistics.fmean(values)
    error = statistics.stdev(values) / len(values) ** 0.5
    reach = float(student.ppf(0.975, len(values) - 1)) * error
    return mean, mean - reach, mean + reach
