"""Which posts share a batch, and which of them belong to each process."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import BatchSampler, Sampler


class LengthBuckets(Sampler[int]):
    """An order in which neighbours have texts of like length, so that batches need little padding.

    Posts are shuffled, sorted by length within groups of `BATCHES_PER_BUCKET` batches, and the
    batches are shuffled. The order is a function of seed and epoch alone: an interrupted epoch is
    taken up in the same order, which a draw from the global generator would not give.

    Args:
        lengths: Word pieces of each post.
        batch_size: Posts per batch.
        seed: Of the order.
        labels: The posts' classes, to have each class equally often; by default as they come.
    """

    BATCHES_PER_BUCKET = 50

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        seed: int,
        labels: Int[np.ndarray, " batch"] | None = None,
    ) -> None:
        self.lengths = np.asarray(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.labels = labels
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        random = np.random.default_rng((self.seed, self.epoch))
        drawn = len(self.lengths) if self.labels is None else _balanced(self.labels, random)
        order = random.permutation(drawn)
        bucket = self.batch_size * self.BATCHES_PER_BUCKET
        batches = []
        for start in range(0, len(order), bucket):
            group = order[start : start + bucket]
            group = group[np.argsort(self.lengths[group], kind="stable")]
            batches += np.split(group, range(self.batch_size, len(group), self.batch_size))
        short = [batch for batch in batches if len(batch) < self.batch_size]
        full = [batch for batch in batches if len(batch) == self.batch_size]
        shuffled = [full[index] for index in random.permutation(len(full))]
        return iter(np.concatenate(shuffled + short).tolist())


def rank_batch(batch: Sequence[Any], rank: int, processes: int) -> Sequence[Any]:
    """Return the slice of a batch that belongs to a process, in the order of ranks.

    Slices differ by one post at most; of a batch with fewer posts than there are processes, the
    last ones are empty.
    """
    smallest, larger = divmod(len(batch), processes)
    start = rank * smallest + min(rank, larger)
    return batch[start : start + smallest + (rank < larger)]


class RankBatchSampler(BatchSampler):
    """Samples the rank batches of one process, which may be empty.

    Args:
        order: All posts, the same on each process.
        batch_size: Posts in a batch of all processes together.
        rank: Number of this process, from 0.
        processes: Number of processes.
    """

    def __init__(self, order: Sampler[int], batch_size: int, rank: int, processes: int) -> None:
        super().__init__(order, batch_size, drop_last=False)
        self.batch_sampler = order
        """Under this name the Trainer looks for a sampler whose epoch it sets."""
        self.rank = rank
        self.processes = processes

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next."""
        self.batch_sampler.set_epoch(epoch)  # type: ignore[attr-defined]

    def __iter__(self) -> Iterator[list[int]]:
        for batch in super().__iter__():
            yield list(rank_batch(batch, self.rank, self.processes))


class RankCollator:
    """Collates rank batches; of an empty one, a post that is not valid.

    Args:
        collator: Makes batches.
        filler: The post that fills an empty rank batch, so that this process takes part in every
            step. Its image is left out, lest a network count what it sees there.
    """

    def __init__(
        self, collator: Callable[[Sequence[Any]], dict[str, Tensor]], filler: Mapping[str, Any]
    ) -> None:
        self.collator = collator
        self.filler = {**filler, "image": None}

    def __call__(self, rows: Sequence[Any]) -> dict[str, Tensor]:
        """Return one batch with the mask of its valid posts."""
        batch = self.collator(rows or [self.filler])
        return batch | {"valid_mask": torch.full((len(batch["labels"]),), len(rows) > 0)}


def _balanced(
    labels: Int[np.ndarray, " batch"], random: np.random.Generator
) -> Int[np.ndarray, " batch"]:
    """Return as many positions as there are labels, each class equally often to within one.

    Within a class, no post comes twice more often than another.
    """
    classes = np.unique(labels)
    chosen = []
    for number, label in enumerate(classes):
        count = len(labels) // len(classes) + (number < len(labels) % len(classes))
        members = np.flatnonzero(labels == label)
        rounds = [random.permutation(members) for _ in range(-(-count // len(members)))]
        chosen.append(np.concatenate(rounds)[:count])
    return np.concatenate(chosen)
