"""Class centroids: over a queue of past features (accumulating calibration), or over a batch."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mvcn.errors import ConfigError, DataError, MvcnError


class CentroidQueue(nn.Module):
    """First-in-first-out memory of fused features, summarised by class centroids.

    Contents, position and sums are buffers, so a checkpoint restores the queue exactly. Stored
    features are constants: no gradient flows into them or into the centroids.

    An update costs the same whatever the size: the class sums gain the new rows and lose the
    overwritten ones. Rounding cannot drift: a second set of sums starts from zero with each lap
    around the queue, and replaces the first at the end of the lap, when its rows are the queue.

    Args:
        size: Posts remembered, N.
        dim: Width d of a fused feature.
        num_classes: Classes K.

    The queue may stay on the CPU while the model is on another device.

    Raises:
        ConfigError: A number below 1.

    Source:
        Wei et al., ACL 2023, accumulating calibration.
    """

    features: Tensor
    labels: Tensor
    next_slot: Tensor
    class_sums: Tensor
    lap_sums: Tensor
    counts: Tensor

    def __init__(self, size: int, dim: int, num_classes: int) -> None:
        super().__init__()
        if min(size, dim, num_classes) < 1:
            raise ConfigError(
                f"A queue of {size} features of width {dim} from {num_classes} classes cannot be: "
                "each must be 1 or more."
            )
        self.size = size
        self.num_classes = num_classes
        self.register_buffer("features", torch.zeros(size, dim, dtype=torch.float32))
        self.register_buffer("labels", torch.full((size,), -1, dtype=torch.int64))
        self.register_buffer("next_slot", torch.zeros((), dtype=torch.int64))
        self.register_buffer("class_sums", torch.zeros(num_classes, dim, dtype=torch.float64))
        self.register_buffer("lap_sums", torch.zeros(num_classes, dim, dtype=torch.float64))
        self.register_buffer("counts", torch.zeros(num_classes, dtype=torch.int64))

    def reset(self) -> None:
        """Forget everything."""
        for buffer in self.buffers():
            buffer.zero_()
        self.labels.fill_(-1)

    def num_filled(self) -> int:
        """Return how many posts are remembered."""
        return int(self.counts.sum())

    def is_full(self) -> bool:
        """Return whether the next post will replace the oldest."""
        return self.num_filled() == self.size

    def centroids(self) -> tuple[Float[Tensor, "classes dim"], Int[Tensor, " classes"]]:
        """Return the class means (zeros for an empty class) and how many posts each averages."""
        return _means(self.class_sums, self.counts).to(self.features), self.counts.clone()

    @torch.no_grad()
    def enqueue(self, features: Tensor, labels: Tensor) -> None:
        """Replace the oldest posts by these; of more than `size`, by the last ones.

        Args:
            features: Any numbers, ``(batch, dim)``.
            labels: Whole numbers, ``(batch,)``.

        Raises:
            DataError: Other shapes, labels that are no whole numbers, or one that is not a class.
            MvcnError: A feature that is not a finite number, which no later update would fix.
        """
        self.require_batch(features, labels)
        if not bool(features.isfinite().all()):
            raise MvcnError(
                "The fused features are not finite numbers, so training has diverged: "
                "lower the learning rate."
            )
        features = features.detach()[-self.size :].to(self.features)
        labels = labels[-self.size :].to(self.labels)
        rows_to_end = self.size - int(self.next_slot)
        self._write(features[:rows_to_end], labels[:rows_to_end])
        self._write(features[rows_to_end:], labels[rows_to_end:])

    def require_batch(self, features: Tensor, labels: Tensor) -> None:
        """Check that there is a feature of this queue's width for each label, and a class.

        Raises:
            DataError: There is not.
        """
        if labels.dim() != 1 or features.shape != (len(labels), self.features.shape[1]):
            raise DataError(
                f"Features of shape {tuple(features.shape)} and labels of shape "
                f"{tuple(labels.shape)} do not fit: give one class number a sample, and features "
                f"of shape (batch, {self.features.shape[1]})."
            )
        if labels.dtype == torch.bool or labels.is_floating_point() or labels.is_complex():
            raise DataError(f"Labels are {labels.dtype}, but must be whole numbers: class numbers.")
        require_labels(labels.long(), self.num_classes)

    def _write(self, features: Tensor, labels: Tensor) -> None:
        """Overwrite the next slots, which must not go past the end of the queue."""
        start = int(self.next_slot)
        end = start + len(labels)
        old_sums, old_counts = _class_sums(
            self.features[start:end].to(torch.float64), self.labels[start:end], self.num_classes
        )
        new_sums, new_counts = _class_sums(features.to(torch.float64), labels, self.num_classes)
        self.class_sums += new_sums - old_sums
        self.lap_sums += new_sums
        self.counts += new_counts - old_counts
        self.features[start:end] = features
        self.labels[start:end] = labels
        if end == self.size:
            self.class_sums.copy_(self.lap_sums)
            self.lap_sums.zero_()
        self.next_slot.fill_(end % self.size)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "CentroidQueue":
        """Follow moves to another device, but keep types: `model.half()` must not round sums."""

        def move(buffer: Tensor) -> Tensor:
            moved = fn(buffer)
            return moved if moved.dtype == buffer.dtype else buffer.to(moved.device)

        super()._apply(move, recurse)  # type: ignore[no-untyped-call]
        return self


def batch_centroids(
    features: Float[Tensor, "batch dim"], labels: Int[Tensor, " batch"], num_classes: int
) -> tuple[Float[Tensor, "classes dim"], Int[Tensor, " classes"]]:
    """Return the class means of this batch alone, and how many posts each averages.

    This is the ablation without a queue. The means are constants, like the queue's, so that the
    two differ in nothing but the posts averaged. A post is not left out of its own class mean:
    alone in its class it has distance 0 to it and is not pulled anywhere, which is the weakness
    of small batches that the queue is there to fix.

    Args:
        features: Fused features z.
        labels: Classes y.
        num_classes: Classes K, present in the batch or not.
    """
    features = features.detach().to(torch.promote_types(features.dtype, torch.float32))
    sums, counts = _class_sums(features, labels, num_classes)
    return _means(sums, counts), counts


def require_labels(labels: Int[Tensor, " batch"], num_classes: int) -> None:
    """Check that each post has one of the classes as its label.

    Raises:
        DataError: A label below 0 (absent) or beyond the classes.
    """
    wrong = ((labels < 0) | (labels >= num_classes)).nonzero()
    if len(wrong):
        position = int(wrong[0])
        raise DataError(
            f"Post {position} of the batch has label {int(labels[position])}, but the loss needs "
            f"a label from 0 to {num_classes - 1} for every post."
        )


def _class_sums(features: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Return the sum of features and the number of posts of each class; label -1 is no post."""
    sums = features.new_zeros(num_classes + 1, features.shape[1])
    sums.index_add_(0, labels + 1, features)
    counts = labels.new_zeros(num_classes + 1)
    counts.index_add_(0, labels + 1, torch.ones_like(labels))
    return sums[1:], counts[1:]


def _means(sums: Tensor, counts: Tensor) -> Tensor:
    return sums / counts.clamp(min=1).unsqueeze(1)
