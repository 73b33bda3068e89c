"""Class centroids: over a queue of past features (accumulating calibration), or over a batch."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mvcn.errors import ConfigError, DataError, MvcnError


class CentroidQueue(nn.Module):
    """First-in-first-out memory of fused features, summarised by class centroids.

    Contents, position and sums are buffers, so a checkpoint restores the queue exactly. Stored
    features are constants: no gradient flows into them or into the centroids. The queue may stay on
    the CPU while the model is on another device.

    The cost of an update does not depend on the size: new features are added to the class sums,
    overwritten ones are subtracted. Rounding errors do not accumulate: a second set of sums starts
    from zero with each lap around the queue, and replaces the first at the end of the lap.

    Args:
        size: Number of posts in the queue, N.
        dim: Width d of a fused feature.
        num_classes: Number of classes K.

    Raises:
        ConfigError: A number is below 1.

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
                f"A queue cannot have {size} features of width {dim} from {num_classes} classes: "
                "each number must be 1 or more."
            )
        self.size = size
        self.num_classes = num_classes
        self.register_buffer("features", torch.zeros(size, dim, dtype=torch.float32))
        self.register_buffer("labels", torch.full((size,), -1, dtype=torch.int64))
        self.register_buffer("next_slot", torch.zeros((), dtype=torch.int64))
        self.register_buffer("class_sums", torch.zeros(num_classes, dim, dtype=torch.float64))
        self.register_buffer("lap_sums", torch.zeros(num_classes, dim, dtype=torch.float64))
        self.register_buffer("counts", torch.zeros(num_classes, dtype=torch.int64))

    def extra_repr(self) -> str:
        """Return the settings, for `repr`."""
        return f"size={self.size}, dim={self.features.shape[1]}, num_classes={self.num_classes}"

    def reset(self) -> None:
        """Empty the queue."""
        for buffer in self.buffers():
            buffer.zero_()
        self.labels.fill_(-1)

    def num_filled(self) -> int:
        """Return the number of posts in the queue."""
        return int(self.counts.sum())

    def is_full(self) -> bool:
        """Return whether the next post replaces the oldest."""
        return self.num_filled() == self.size

    def centroids(self) -> tuple[Float[Tensor, "classes dim"], Int[Tensor, " classes"]]:
        """Return the class means (zeros for an empty class) and the number of posts in each."""
        return _means(self.class_sums, self.counts).to(self.features), self.counts.clone()

    @torch.no_grad()
    def enqueue(self, features: Tensor, labels: Tensor) -> None:
        """Replace the oldest posts by these, or by the last `size` of them.

        Args:
            features: Finite numbers, ``(batch, dim)``.
            labels: Integers, ``(batch,)``.

        Raises:
            DataError: Shapes differ, labels are not integers, or a label is not a class.
            MvcnError: A feature is not finite.
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
        """Raise a DataError unless each feature has the queue's width and a class as its label."""
        if labels.dim() != 1 or features.shape != (len(labels), self.features.shape[1]):
            raise DataError(
                f"Features of shape {tuple(features.shape)} and labels of shape "
                f"{tuple(labels.shape)} do not match: pass one class number per sample, and "
                f"features of shape (batch, {self.features.shape[1]})."
            )
        if labels.dtype == torch.bool or labels.is_floating_point() or labels.is_complex():
            raise DataError(f"Labels are {labels.dtype}, but must be integers: class numbers.")
        require_labels(labels.long(), self.num_classes)

    def _write(self, features: Tensor, labels: Tensor) -> None:
        """Overwrite the next slots, which must not extend past the end of the queue."""
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
        """Move to another device, but keep dtypes: `model.half()` must not round sums."""

        def move(buffer: Tensor) -> Tensor:
            moved = fn(buffer)
            return moved if moved.dtype == buffer.dtype else buffer.to(moved.device)

        super()._apply(move, recurse)  # type: ignore[no-untyped-call]
        return self


def batch_centroids(
    features: Float[Tensor, "batch dim"], labels: Int[Tensor, " batch"], num_classes: int
) -> tuple[Float[Tensor, "classes dim"], Int[Tensor, " classes"]]:
    """Return the class means of a batch, and the number of posts in each.

    This is the ablation without a queue. The means are constants like those of the queue, so that
    the two differ only in the posts averaged. A post is part of its own class mean: alone in its
    class it has distance 0 and is not pulled anywhere, the weakness of small batches that the queue
    removes.

    Args:
        features: Fused features z.
        labels: Classes y.
        num_classes: Number of classes K, present in the batch or not.
    """
    features = features.detach().to(torch.promote_types(features.dtype, torch.float32))
    sums, counts = _class_sums(features, labels, num_classes)
    return _means(sums, counts), counts


def require_labels(labels: Int[Tensor, " batch"], num_classes: int) -> None:
    """Raise a DataError unless each label is from 0 to `num_classes` - 1."""
    wrong = ((labels < 0) | (labels >= num_classes)).nonzero()
    if len(wrong):
        position = int(wrong[0])
        raise DataError(
            f"Post {position} of the batch has label {int(labels[position])}, but the loss needs "
            f"a label from 0 to {num_classes - 1} for every post."
        )


def _class_sums(features: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Return the sum of features and the number of posts of each class; -1 is an empty slot."""
    sums = features.new_zeros(num_classes + 1, features.shape[1])
    sums.index_add_(0, labels + 1, features)
    counts = labels.new_zeros(num_classes + 1)
    counts.index_add_(0, labels + 1, torch.ones_like(labels))
    return sums[1:], counts[1:]


def _means(sums: Tensor, counts: Tensor) -> Tensor:
    return sums / counts.clamp(min=1).unsqueeze(1)
