"""How a training step grows with queue, classes, width, devices; writes results/scaling.json.

Run from the repository's root: ``python -m scripts.speed.scaling``.

Times are processor time of one thread, the best of several rounds: of the constraint's share of a
step alone, which is `mvcn.SemanticCongruityLoss` forward and backward and the queue's update.
Bytes are counted: of the queue's buffers, and of what two processes receive from each other in a
step of the whole objective. What no machine here can hold is computed by the formulas below, each
of which is checked against every count; a difference ends the script.
"""

import json
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import typer
from torch import Tensor

from mvcn.config import ObjectiveConfig, read_recipe
from mvcn.inputs.batches import LengthBuckets
from mvcn.losses import Objective, Targets
from mvcn.models.build import build_model
from scripts import results
from scripts.speed.congruity_step import (
    BATCH,
    MICROSECONDS,
    constraint_step,
    seconds_of_steps,
)

QUEUE, CLASSES, DIM = 3_600, 3, 384
QUEUES = (3_600, 36_000, 360_000, 1_000_000)
MANY_CLASSES = (3, 100, 1_000, 10_000)
WIDTHS = (384, 768, 1_536)
BEYOND = ((10_000_000, CLASSES, DIM), (QUEUE, 100_000, DIM))
"""Sizes whose memory is computed alone."""
POSTS = (10_000, 100_000, 1_000_000)
DEVICES = (2, 8, 64, 512)
COUNTED_DEVICES = 2
ROUNDS, STEPS = 7, 5
FLOAT, DOUBLE, INTEGER, BOOLEAN = 4, 8, 8, 1
FEATURE_BYTES = 2


def main() -> None:
    """Measure, count and compute; write results/scaling.json."""
    torch.set_num_threads(1)
    sizes = [(queue, CLASSES, DIM) for queue in QUEUES]
    sizes += [(QUEUE, classes, DIM) for classes in MANY_CLASSES[1:]]
    sizes += [(QUEUE, CLASSES, dim) for dim in WIDTHS[1:]]
    trained = _trained_parameters()
    content = {
        "batch": BATCH,
        "steps": [_step(*size) for size in sizes] + [_memory(*size) for size in BEYOND],
        "posts": [_order(posts) for posts in POSTS],
        "image_feature_bytes": _image_feature_bytes(),
        "trained_parameters": trained,
        "devices": [_traffic(devices, trained) for devices in DEVICES],
    }
    content["counted"] = _counted_traffic(content["devices"][0]["queue"])
    results.write("scaling", content)


def queue_bytes(queue: int, classes: int, dim: int) -> int:
    """Return the memory of the queue: posts, sums and counts of classes, its summary."""
    rows = queue * (dim * FLOAT + INTEGER)
    per_class = dim * DOUBLE + INTEGER + BOOLEAN
    return rows + classes * per_class + dim * DOUBLE + DOUBLE + 2 * INTEGER


def gathered_bytes(devices: int, batch: int, dim: int) -> int:
    """Return what a device receives for the queue in a step: sizes, features and labels."""
    return (devices - 1) * (INTEGER + batch * (dim * FLOAT + INTEGER))


def gradient_bytes(devices: int, trained: int) -> int:
    """Return what a device receives for the mean of gradients, by a ring of devices."""
    return round(2 * (devices - 1) / devices * trained * FLOAT)


def _step(queue: int, classes: int, dim: int) -> dict[str, Any]:
    """Time one step of the constraint with a full queue, and count its memory."""
    torch.manual_seed(0)
    constraint, step = constraint_step(classes, dim, queue)
    counted = sum(buffer.nbytes for buffer in constraint.queue.buffers())
    _require_equal(counted, queue_bytes(queue, classes, dim), "The queue")
    rounds = [
        statistics.median(seconds_of_steps(step, STEPS, classes, dim, time.process_time))
        for _ in range(ROUNDS)
    ]
    return _memory(queue, classes, dim) | {"microseconds": round(MICROSECONDS * min(rounds), 1)}


def _memory(queue: int, classes: int, dim: int) -> dict[str, Any]:
    return {
        "queue": queue,
        "classes": classes,
        "dim": dim,
        "queue_bytes": queue_bytes(queue, classes, dim),
    }


def _order(posts: int) -> dict[str, Any]:
    """Time the order of an epoch, the one thing of a training that sees all posts at once."""
    lengths = np.random.default_rng(0).integers(5, 64, posts)
    started = time.process_time()
    for _ in LengthBuckets(lengths.tolist(), BATCH, seed=0):
        break
    return {"posts": posts, "order_seconds": round(time.process_time() - started, 3)}


def _image_feature_bytes() -> int:
    """Return what the cache holds of an image that the default encoder has seen."""
    tokens, width = 49, 1280  # of EfficientNet-Lite0
    return tokens * width * FEATURE_BYTES


def _trained_parameters() -> int:
    """Return how many numbers the recipe single trains, each of which has a gradient."""
    model = build_model(read_recipe("single").model, tuple("abc"))
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)


def _traffic(devices: int, trained: int) -> dict[str, int]:
    """Return what each device receives in a step, each with `BATCH` posts."""
    return {
        "devices": devices,
        "queue": gathered_bytes(devices, BATCH, DIM),
        "gradients": gradient_bytes(devices, trained),
    }


def _counted_traffic(computed: int) -> dict[str, int]:
    """Let two processes take a step, and count what each receives for the queue."""
    with TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(_count, (Path(folder),), nprocs=COUNTED_DEVICES)
        counts = [
            json.loads((Path(folder) / f"{rank}.json").read_text())
            for rank in range(COUNTED_DEVICES)
        ]
    for count in counts:
        _require_equal(count["queue"], computed, "The traffic of the queue")
    return counts[0]


@dataclass
class Output:
    """What the objective reads of a model."""

    fused_logits: Tensor
    fused_feature: Tensor
    views: None = None
    penalty: None = None
    pair_logits: None = None


def _count(rank: int, folder: Path) -> None:
    """Take one step of the objective in one of two processes, and write what was received."""
    meeting = f"file://{folder}/meeting"
    dist.init_process_group("gloo", meeting, world_size=COUNTED_DEVICES, rank=rank)
    objective = Objective(ObjectiveConfig(queue_size=QUEUE), ("a", "b", "c"), DIM)
    objective.activate()
    labels = torch.arange(BATCH) % CLASSES
    targets = Targets(labels, labels, labels)
    output = Output(torch.randn(BATCH, CLASSES), torch.randn(BATCH, DIM))
    received = {"queue": 0, "loss": 0}
    with _counting(received, "loss"):
        objective(output, targets)
    with _counting(received, "queue"):
        objective.after_step(output, targets)
    (folder / f"{rank}.json").write_text(json.dumps(received))
    dist.destroy_process_group()


@contextmanager
def _counting(received: dict[str, int], name: str) -> Iterator[None]:
    """Add the bytes that come from the other processes in the block."""
    gather, reduce = dist.all_gather, dist.all_reduce

    def counting_gather(parts: list[Tensor], own: Tensor) -> None:
        gather(parts, own)
        received[name] += sum(part.nbytes for part in parts) - own.nbytes

    def counting_reduce(total: Tensor) -> None:
        reduce(total)
        received[name] += 2 * (COUNTED_DEVICES - 1) * total.nbytes // COUNTED_DEVICES

    dist.all_gather, dist.all_reduce = counting_gather, counting_reduce
    try:
        yield
    finally:
        dist.all_gather, dist.all_reduce = gather, reduce


def _require_equal(counted: int, computed: int, what: str) -> None:
    if counted != computed:
        raise SystemExit(f"{what} takes {counted} bytes, but {computed} were computed.")


if __name__ == "__main__":
    typer.run(main)
