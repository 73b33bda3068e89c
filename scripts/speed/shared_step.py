"""A training step of the recipe paper that several processes share."""

from multiprocessing import set_forkserver_preload
from pathlib import Path

import torch
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from scripts.speed import paper_step

PROCESSES = 2


def seconds(folder: Path, pair: str, device: str) -> float | None:
    """Return the seconds of a step that two processes share, None if there is one GPU only.

    The processes get what torchrun would tell them. They are forked from one that has imported
    everything and computed nothing.

    Args:
        folder: What `scripts.speed.paper_pair.prepare` wrote.
        pair: Size of the encoders.
        device: cuda, or cpu.
    """
    if device == "cuda" and torch.cuda.device_count() < PROCESSES:
        return None
    set_forkserver_preload([paper_step.__name__])
    launch = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=PROCESSES,
        run_id="step",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        start_method="forkserver",
    )
    steps: dict[int, paper_step.Step] = elastic_launch(launch, paper_step.ours)(folder, pair, ())
    return steps[0].seconds
