"""A training step of the recipe paper that several processes share.

Started by torchrun as ``-m scripts.speed.shared_step FOLDER PAIR``, this file is one of them.
"""

import json
import subprocess
import sys
from pathlib import Path

import torch
import torch.distributed as dist
import typer

from scripts.speed import paper_step

PROCESSES = 2
SECONDS_FILE = "shared-step.json"


def seconds(folder: Path, pair: str, device: str) -> float | None:
    """Return the seconds of a step that two processes share, None if there is one GPU only.

    Args:
        folder: What `scripts.speed.paper_pair.prepare` wrote.
        pair: Size of the encoders.
        device: cuda, or cpu.
    """
    if device == "cuda" and torch.cuda.device_count() < PROCESSES:
        return None
    run = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(PROCESSES)]
    subprocess.run([*run, "-m", "scripts.speed.shared_step", str(folder), pair], check=True)
    found: float = json.loads((folder / SECONDS_FILE).read_text("utf-8"))
    return found


def main(folder: Path, pair: str) -> None:
    """Take the steps of one of the processes; the first writes how long one takes."""
    step = paper_step.ours(folder, pair, ())
    if dist.get_rank() == 0:
        (folder / SECONDS_FILE).write_text(json.dumps(step.seconds), "utf-8")


if __name__ == "__main__":
    typer.run(main)
