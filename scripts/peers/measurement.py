"""Fit a tool and predict with it, each in a process of its own, and measure both."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from mvcn.data.reading import TrainingPosts
from mvcn.evaluation.metrics import evaluate_predictions
from mvcn.inputs.feature_cache import CACHE_VARIABLE
from scripts.peers.comparison import TOOLS, UNIMODAL_LABELS, Task, rows
from scripts.peers.posts import write_table

MEGABYTE = 1e6
SECONDS_BETWEEN_LOOKS = 0.2
LAST_LINES = 10
METRICS = ("accuracy", "f1_weighted", "expected_calibration_error")


@dataclass(frozen=True)
class Usage:
    """What a process and those that it has started took."""

    seconds: float
    processor_seconds: float
    peak_memory_mb: int
    """Largest sum over them, of which pages that several share count once."""


def measure(
    task: Task, posts: TrainingPosts, python: Path, work: Path, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return scores on the dev posts, and what fitting and predicting took.

    Args:
        task: Its tool and its draw, which is the seed, too.
        posts: Training and dev posts.
        python: Of the tool's environment.
        work: New folder, where the predictions stay.
        options: Of the tool.
    """
    tool = TOOLS[task.tool]
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    train, dev, model, output = (
        work / name for name in ("train.csv", "dev.csv", "model", "predicted.json")
    )
    labels = ("label", *UNIMODAL_LABELS) if tool.has_unimodal_labels else ("label",)
    write_table(train, rows(posts.train, labels))
    write_table(dev, rows(posts.dev, ()))  # no tool sees their labels
    settings = json.dumps({"seed": task.draw, **options})
    command = [python, "-m", "scripts.peers.process"]
    load = os.getloadavg()[0]
    fitted = run([*command, "fit", tool.file, train, model, settings], work)
    predicted = run([*command, "predict", tool.file, model, dev, output], work)
    said = json.loads(output.read_text("utf-8"))
    model_mb = _size_mb(model)
    for name in ("model", "model-image-encoder", "cache"):
        shutil.rmtree(work / name, ignore_errors=True)
    return {
        **scores(said, posts),
        "fit": vars(fitted),
        "predict": {
            **{name: round(said[name], 2) for name in ("load_seconds", "first_seconds", "seconds")},
            "peak_memory_mb": predicted.peak_memory_mb,
            "posts_per_second": round(len(posts.dev) / said["seconds"], 1),
        },
        "model_mb": model_mb,
        "installation": said["installation"],
        "load_before": round(load, 1),
    }


def scores(said: Mapping[str, Any], posts: TrainingPosts) -> dict[str, float]:
    """Return the scores of predicted probabilities; classes that a tool has not seen have 0."""
    names = list(posts.class_names)
    probabilities = np.zeros((len(posts.dev), len(names)))
    probabilities[:, [names.index(name) for name in said["class_names"]]] = said["probabilities"]
    labels = np.array([names.index(str(post.label)) for post in posts.dev])
    found = evaluate_predictions(probabilities, labels, names)
    return {name: getattr(found, name) for name in METRICS}


def run(command: Sequence[str | Path], work: Path) -> Usage:
    """Run a command to its end, on the CPU and without a network.

    Args:
        command: What to run.
        work: Folder for what it prints, and for features that it keeps.

    Raises:
        SystemExit: It has failed.
    """
    environment = os.environ | {
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        CACHE_VARIABLE: str(work / "cache"),
    }
    started, peak = time.perf_counter(), 0
    with (work / "log.txt").open("a", encoding="utf-8") as log:
        process = subprocess.Popen(
            [str(word) for word in command], env=environment, stdout=log, stderr=subprocess.STDOUT
        )
        while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
            peak = max(peak, _memory(process.pid))
            time.sleep(SECONDS_BETWEEN_LOOKS)
    seconds, (_, status, usage) = time.perf_counter() - started, ended
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        lines = (work / "log.txt").read_text("utf-8").splitlines()[-LAST_LINES:]
        raise SystemExit("\n".join([f"{' '.join(process.args)} has failed:", *lines]))
    return Usage(
        round(seconds, 1), round(usage.ru_utime + usage.ru_stime, 1), round(peak / MEGABYTE)
    )


def python_of(tool: str, peers: Path) -> Path:
    """Return the interpreter that a tool runs with."""
    return Path(sys.executable) if TOOLS[tool].is_ours else peers


def _memory(number: int) -> int:
    total = 0
    with suppress(psutil.Error):  # one has just ended
        process = psutil.Process(number)
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.Error):
                total += one.memory_full_info().pss
    return total


def _size_mb(folder: Path) -> float:
    """Return the size of the files, each counted once."""
    files = {path.stat().st_ino: path.stat() for path in folder.rglob("*") if path.is_file()}
    return round(sum(about.st_size for about in files.values()) / MEGABYTE, 1)
