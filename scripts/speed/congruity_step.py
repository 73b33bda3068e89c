"""One step of the constraint and its queue: loss, gradient of the features, new queue.

Work, the same for all sides: 16 features of 768 numbers in 3 classes a step, against centroids of
a full queue. Ours is `mvcn.SemanticCongruityLoss`. What it is compared with:

- the same with a queue of 3,600 posts in place of a million;
- a queue of a million posts whose centroids are averaged anew in each step;
- `CrossBatchMemory` of pytorch-metric-learning with a contrastive loss over a memory of as many
  posts as fit a benchmark's patience (`MEMORY`), since its cost grows with the memory;
- a step of the default model, text encoder and all;
- 3 classes in place of 10,000, both with 384 numbers and a queue of 3,600 posts;
- center loss: what it adds to a step of a network with one hidden layer of 384 units, and what ours
  adds. pytorch-metric-learning has no center loss; the one compared with is that of
  `scripts.studies.constraints`, whose centers the optimizer of the network learns.

All but the averaging, the other library and the model run on one thread.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mvcn.losses import SemanticCongruityLoss, congruity_loss
from scripts.speed import training_epoch

BATCH, DIM, CLASSES = 16, 768, 3
SMALL, LARGE = 3_600, 1_000_000
MANY_CLASSES, NARROW = 10_000, 384
INPUTS, LEARNING_RATE, WEIGHT = 64, 1e-3, 0.1
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


def ours_many_classes(folder: Path) -> float:
    """Return microseconds a step with 10,000 classes."""
    return _ours(folder, SMALL, MANY_CLASSES, NARROW)


def ours_few_classes(folder: Path) -> float:
    """Return microseconds a step with 3 classes, at the width of that with many."""
    return _ours(folder, SMALL, CLASSES, NARROW)


def added_by_ours(folder: Path) -> float:
    """Return by how many microseconds the constraint lengthens a step of a small network."""
    return _added(folder, constraint_step(CLASSES, NARROW, SMALL)[0])


def added_by_center_loss(folder: Path) -> float:
    """Return by how many microseconds center loss lengthens a step of the same network."""
    from scripts.studies.constraints.center_loss import CenterLoss

    return _added(folder, CenterLoss(CLASSES, NARROW))


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
    device: str = "cpu",
) -> list[float]:
    """Return the seconds of each of `count` steps on the same features and any classes."""
    features = torch.randn(BATCH, dim, device=device)
    seconds = []
    for labels in torch.randint(classes, (count, BATCH), device=device):
        fresh = features.clone().requires_grad_()
        started = clock()
        step(fresh, labels)
        seconds.append(clock() - started)
    return seconds


def _ours(folder: Path, queue: int, classes: int = CLASSES, dim: int = DIM) -> float:
    torch.set_num_threads(1)
    return _microseconds(folder, constraint_step(classes, dim, queue)[1], classes, dim)


def _microseconds(
    folder: Path,
    step: Callable[[Tensor, Tensor], None],
    classes: int = CLASSES,
    dim: int = DIM,
) -> float:
    """Return the median over steps, the first tenth left out."""
    count = _count(folder)
    seconds = seconds_of_steps(step, count, classes, dim)
    return MICROSECONDS * statistics.median(seconds[count // 10 :])


def _count(folder: Path) -> int:
    return int((folder / COUNT_FILE).read_text("utf-8"))


def _added(folder: Path, constraint: nn.Module) -> float:
    """Return the median of the step with a constraint less that without, which take turns."""
    torch.set_num_threads(1)
    count, seconds = _count(folder), []
    steps = _network_step(None), _network_step(constraint)
    rows, classes = torch.randn(BATCH, INPUTS), torch.randint(CLASSES, (count, BATCH))
    for labels in classes:
        for step in steps:
            started = time.perf_counter()
            step(rows, labels)
            seconds.append(time.perf_counter() - started)
    first = count // 10
    without, with_it = (statistics.median(seconds[side::2][first:]) for side in range(2))
    return MICROSECONDS * (with_it - without)


def _network_step(constraint: nn.Module | None) -> Callable[[Tensor, Tensor], None]:
    """Return a function that takes a training step of a new network with one hidden layer."""
    body = nn.Sequential(nn.Linear(INPUTS, NARROW), nn.GELU())
    head = nn.Linear(NARROW, CLASSES)
    parts = nn.ModuleList([body, head, *([] if constraint is None else [constraint])])
    optimizer = torch.optim.AdamW(parts.parameters(), LEARNING_RATE, fused=True)

    def step(rows: Tensor, labels: Tensor) -> None:
        features = body(rows)
        loss = F.cross_entropy(head(features), labels)
        if constraint is not None:
            loss = loss + WEIGHT * constraint(features, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step
