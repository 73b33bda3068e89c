"""One step of the constraint and its queue: loss, gradient of the features, new queue.

Work, the same for all sides: 16 features of 768 numbers in 3 classes a step, against centroids of
a full queue. Ours is `mvcn.SemanticCongruityLoss`. What it is compared with:

- the same with a queue of 3,600 posts in place of a million;
- a queue of a million posts whose centroids are averaged anew in each step;
- `CrossBatchMemory` of pytorch-metric-learning with a contrastive loss over a memory of as many
  posts as fit a benchmark's patience (`MEMORY`), since its cost grows with the memory;
- a step of the default model, text encoder and all.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from mvcn.losses import SemanticCongruityLoss, congruity_loss
from scripts.speed import training_epoch

BATCH, DIM, CLASSES = 16, 768, 3
SMALL, LARGE = 3_600, 1_000_000
MEMORY = 100_000
FILL_AT_ONCE = 50_000
MICROSECONDS = 1e6
COUNT_FILE = "steps.txt"


def prepare(folder: Path, count: int) -> None:
    """Write how many steps are timed."""
    (folder / COUNT_FILE).write_text(str(count), "utf-8")


def prepare_with_model(folder: Path, count: int) -> None:
    """Write the posts of the default model's training steps, too."""
    prepare(folder, count)
    training_epoch.prepare(folder, count)


def ours_large(folder: Path) -> float:
    """Return microseconds a step with a queue of a million posts."""
    return _ours(folder, LARGE)


def ours_small(folder: Path) -> float:
    """Return microseconds a step with a queue of 3,600 posts."""
    return _ours(folder, SMALL)


def ours_memory(folder: Path) -> float:
    """Return microseconds a step with a queue of as many posts as the other's memory."""
    return _ours(folder, MEMORY)


def reaverage(folder: Path) -> float:
    """Return microseconds a step that averages a million remembered features anew."""
    memory, labels = torch.zeros(LARGE, DIM), torch.arange(LARGE) % CLASSES
    for start in range(0, LARGE, FILL_AT_ONCE):
        memory[start : start + FILL_AT_ONCE].normal_()
    place = 0

    def step(features: Tensor, classes: Tensor) -> None:
        nonlocal place
        counts = torch.bincount(labels, minlength=CLASSES)
        sums = torch.zeros(CLASSES, DIM).index_add_(0, labels, memory)
        congruity_loss(features, classes, sums / counts.unsqueeze(1), counts).backward()
        memory[place : place + BATCH] = features.detach()
        labels[place : place + BATCH] = classes
        place = (place + BATCH) % LARGE

    return _microseconds(folder, step)


def cross_batch_memory(folder: Path) -> float:
    """Return microseconds a step of the other library's memory and loss."""
    from pytorch_metric_learning.losses import ContrastiveLoss, CrossBatchMemory

    memory = CrossBatchMemory(ContrastiveLoss(), DIM, memory_size=MEMORY)
    memory.embedding_memory.normal_()
    memory.label_memory.copy_(torch.arange(MEMORY) % CLASSES)
    memory.has_been_filled = True

    def step(features: Tensor, classes: Tensor) -> None:
        memory(features, classes).backward()

    return _microseconds(folder, step)


def model_step(folder: Path) -> float:
    """Return microseconds of a training step of the default model, of as many posts."""
    seconds = training_epoch.ours(folder)
    return MICROSECONDS * seconds * BATCH / training_epoch.EPOCH_POSTS


def constraint_step(
    classes: int, dim: int, queue: int
) -> tuple[SemanticCongruityLoss, Callable[[Tensor, Tensor], None]]:
    """Return a constraint with a full queue, and a function that takes one step of it."""
    constraint = SemanticCongruityLoss(classes, dim, queue)
    for start in range(0, queue, FILL_AT_ONCE):
        count = min(FILL_AT_ONCE, queue - start)
        constraint.queue.enqueue(torch.randn(count, dim), torch.arange(count) % classes)

    def step(features: Tensor, labels: Tensor) -> None:
        constraint(features, labels).backward()

    return constraint, step


def seconds_of_steps(
    step: Callable[[Tensor, Tensor], None],
    count: int,
    classes: int = CLASSES,
    dim: int = DIM,
    clock: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """Return the seconds of each of `count` steps on the same features and classes."""
    features, labels = torch.randn(BATCH, dim), torch.arange(BATCH) % classes
    seconds = []
    for _ in range(count):
        fresh = features.clone().requires_grad_()
        started = clock()
        step(fresh, labels)
        seconds.append(clock() - started)
    return seconds


def _ours(folder: Path, queue: int) -> float:
    return _microseconds(folder, constraint_step(CLASSES, DIM, queue)[1])


def _microseconds(folder: Path, step: Callable[[Tensor, Tensor], None]) -> float:
    """Return the median over steps, the first tenth left out."""
    count = int((folder / COUNT_FILE).read_text("utf-8"))
    return MICROSECONDS * statistics.median(seconds_of_steps(step, count)[count // 10 :])
