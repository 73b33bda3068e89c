"""Class centroids: over a queue of past features (accumulating calibration), or over a batch."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from mvcn.errors import ConfigError, DataError, MvcnError
from mvcn.losses.compiled import addresses, library

ROWS_AT_ONCE = 1024
"""Stored features that are summed at a time, so that no copy of all is held."""
INTEGERS = {torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}


class Comparison(NamedTuple):
    """What posts are compared with: the centroids, and a summary of all of them.

    The summary gives the sum of squared distances of a feature to all centroids in O(dim).
    """

    labels: Int[Tensor, " batch"]
    """Class of each post."""
    sums: Float[Tensor, "classes dim"]
    """Sum of features of each class, in float64."""
    counts: Int[Tensor, " classes"]
    """Number of features in each sum; the centroid is the quotient."""
    min_samples: int
    """Number of features from which on a class has a centroid, 1 or more."""
    num_known: int
    """Number of classes with a centroid."""
    mean: Float[Tensor, " dim"]
    """Mean of these centroids, each of which counts once, in float64."""
    scatter: Float[Tensor, ""]
    """Sum of their squared distances to the mean."""


class CentroidQueue(nn.Module):
    """First-in-first-out memory of fused features, summarised by class centroids.

    Contents, position, sums and summary are buffers, so a checkpoint restores the queue exactly.
    Stored features are constants: no gradient flows into them or into the centroids. The queue may
    stay on the CPU while the model is on another device.

    The cost of an update depends neither on the size nor on the number of classes: new features are
    added to the sums of their classes, overwritten ones are subtracted, and the centroids of these
    classes alone are exchanged in the mean and the scatter of all centroids. Rounding errors do not
    accumulate: at the end of each lap around the queue the sums are computed anew from the stored
    features, and so are mean and scatter, in about the time in which the same posts were added.

    Args:
        size: Number of posts in the queue, N.
        dim: Width d of a fused feature.
        num_classes: Number of classes K.
        min_samples_per_class: Posts of a class from which on its centroid is compared with. In a
            full queue, every centroid is.

    Raises:
        ConfigError: A number is below 1.

    Source:
        Wei et al., ACL 2023, accumulating calibration.
    """

    features: Tensor
    labels: Tensor
    next_slot: Tensor
    class_sums: Tensor
    counts: Tensor
    changing: Tensor
    num_known: Tensor
    mean: Tensor
    scatter: Tensor

    def __init__(
        self, size: int, dim: int, num_classes: int, min_samples_per_class: int = 1
    ) -> None:
        super().__init__()
        if min(size, dim, num_classes) < 1:
            raise ConfigError(
                f"A queue cannot have {size} features of width {dim} from {num_classes} classes: "
                "each number must be 1 or more."
            )
        if min_samples_per_class < 1:
            raise ConfigError(
                f"min_samples_per_class is {min_samples_per_class}, but must be at least 1."
            )
        self.size = size
        self.num_classes = num_classes
        self.min_samples_per_class = min_samples_per_class
        self.register_buffer("features", torch.zeros(size, dim, dtype=torch.float32))
        self.register_buffer("labels", torch.full((size,), -1, dtype=torch.int64))
        self.register_buffer("next_slot", torch.zeros((), dtype=torch.int64))
        self.register_buffer("class_sums", torch.zeros(num_classes, dim, dtype=torch.float64))
        self.register_buffer("counts", torch.zeros(num_classes, dtype=torch.int64))
        changing = torch.zeros(num_classes, dtype=torch.bool)
        self.register_buffer("changing", changing, persistent=False)
        self.register_buffer("num_known", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(dim, dtype=torch.float64))
        self.register_buffer("scatter", torch.zeros((), dtype=torch.float64))

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
        return self.size if self.is_full() else int(self.next_slot)

    def is_full(self) -> bool:
        """Return whether the next post replaces the oldest."""
        return int(self.labels[-1]) >= 0

    def centroids(self) -> tuple[Float[Tensor, "classes dim"], Int[Tensor, " classes"]]:
        """Return the class means (zeros for an empty class) and the number of posts in each."""
        return _means(self.class_sums, self.counts).to(self.features), self.counts.clone()

    def compare(self, labels: Int[Tensor, " batch"]) -> Comparison:
        """Return what posts of these classes are compared with, for `congruity_mean`.

        Args:
            labels: From 0 to the number of classes - 1.
        """
        labels = labels.to(self.labels)
        num_known = int(self.num_known)
        least = 1 if num_known == self.num_classes else self._min_samples()
        sums = self.class_sums, self.counts
        return Comparison(labels, *sums, least, num_known, self.mean, self.scatter)

    @torch.no_grad()
    def enqueue(self, features: Tensor, labels: Tensor) -> None:
        """Replace the oldest posts by these, or by the last `size` of them.

        Args:
            features: Finite numbers, ``(batch, dim)``.
            labels: Integers, ``(batch,)``.

        Raises:
            DataError: Shapes differ, labels are not integers, or a label is not a class.
            MvcnError: A feature is not finite in float32.
        """
        self.require_batch(features, labels)
        self.enqueue_checked(features.detach(), labels)

    def enqueue_checked(self, features: Tensor, labels: Tensor) -> None:
        """Do as `enqueue` with constants that `require_batch` has checked."""
        if len(labels) > self.size:
            features, labels = features[-self.size :], labels[-self.size :]
        features, labels = features.to(self.features), labels.to(self.labels)
        if not math.isfinite(features.sum(dtype=torch.float64)):  # as a sum of float32 always is
            raise MvcnError(
                "The fused features are not finite, so training has diverged: lower the learning "
                "rate."
            )
        start = int(self.next_slot)
        rows_to_end = self.size - start
        if len(labels) <= rows_to_end:
            self._write(features, labels, start)
        else:
            self._write(features[:rows_to_end], labels[:rows_to_end], start)
            self._write(features[rows_to_end:], labels[rows_to_end:], 0)

    def require_batch(self, features: Tensor, labels: Tensor) -> None:
        """Raise a DataError unless each feature has the queue's width and a class as its label."""
        if labels.dim() != 1 or features.shape != (len(labels), self.features.shape[1]):
            raise DataError(
                f"Features of shape {tuple(features.shape)} and labels of shape "
                f"{tuple(labels.shape)} do not match: pass one class number per sample, and "
                f"features of shape (batch, {self.features.shape[1]})."
            )
        if labels.dtype not in INTEGERS:
            raise DataError(
                f"Labels have dtype {labels.dtype}, but must be integers (class numbers)."
            )
        require_labels(labels.long(), self.num_classes)

    def _min_samples(self) -> int:
        """Return with how many posts a class has a centroid now."""
        is_one = self.min_samples_per_class == 1 or self.is_full()
        return 1 if is_one else self.min_samples_per_class

    def _write(self, features: Tensor, labels: Tensor, start: int) -> None:
        """Overwrite the slots from `start`, which must not extend past the end of the queue."""
        end = start + len(labels)
        code = library(self.labels.device)
        if code is None:
            self._write_by_torch(features, labels, start)
        else:
            self._write_by_c(code, features.contiguous(), labels.contiguous(), start)
        self.next_slot.fill_(end % self.size)
        if end == self.size:
            self._end_lap()

    def _write_by_c(self, code: Any, features: Tensor, labels: Tensor, start: int) -> None:
        """Do as `_write_by_torch`."""
        numbers = (*features.shape, self.size, self.min_samples_per_class, start)
        slots = (features, labels, self.features, self.labels)
        summary = (self.mean, self.scatter, self.counts, self.changing, self.num_known)
        moved = torch.zeros_like(self.mean)
        code.exchange(*numbers, *addresses(*slots, self.class_sums, *summary, moved))

    def _write_by_torch(self, features: Tensor, labels: Tensor, start: int) -> None:
        """Write slots and their labels, and what follows from them."""
        slots, slot_labels = (
            stored[start : start + len(labels)] for stored in (self.features, self.labels)
        )
        old_labels = slot_labels if self.is_full() else slot_labels[:0]
        classes = torch.unique(torch.cat([labels, old_labels]))
        before = self._centroids_of(classes)
        self._exchange_posts(slots, old_labels, features.double(), labels)
        slots.copy_(features)
        slot_labels.copy_(labels)
        self._exchange_centroids(classes, *before)

    def _exchange_posts(self, old: Tensor, old_labels: Tensor, new: Tensor, labels: Tensor) -> None:
        """Exchange posts in the sums of their classes; without old labels, none leaves."""
        ones = torch.ones_like(labels)
        self.class_sums.index_add_(0, labels, new)
        self.counts.index_add_(0, labels, ones)
        if len(old_labels):
            self.class_sums.index_add_(0, old_labels, old.double(), alpha=-1)
            self.counts.index_add_(0, old_labels, ones, alpha=-1)

    def _centroids_of(self, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Return the means of some classes, and which of them take part."""
        sums, counts = (
            stored.index_select(0, classes) for stored in (self.class_sums, self.counts)
        )
        return _means(sums, counts), counts >= self._min_samples()

    def _end_lap(self) -> None:
        """Sum the stored features anew, and summarise all centroids."""
        present = self.counts.nonzero().squeeze(1)
        self.class_sums.index_fill_(0, present, 0)
        for start in range(0, self.size, ROWS_AT_ONCE):
            rows = slice(start, start + ROWS_AT_ONCE)
            self.class_sums.index_add_(0, self.labels[rows], self.features[rows].double())
        self._summarise(present)

    def _summarise(self, classes: Tensor) -> None:
        """Compute number, mean and scatter of the centroids of these classes, which are all."""
        centroids, is_known = self._centroids_of(classes)
        known = centroids[is_known]
        self.num_known.fill_(len(known))
        torch.sum(known, 0, out=self.mean).div_(max(len(known), 1))
        away = known.sub_(self.mean).view(-1)
        torch.dot(away, away, out=self.scatter)

    def _exchange_centroids(self, classes: Tensor, old: Tensor, was_known: Tensor) -> None:
        r"""Exchange the centroids of some classes in mean and scatter.

        With :math:`x_j = c_j - m` of all old and new centroids, signs :math:`s_j` of -1 and 1, and
        :math:`t = \sum_j s_j x_j`, the mean moves by t / K, and the scatter changes by
        :math:`\sum_j s_j \lVert x_j \rVert^2 - \lVert t \rVert^2 / K`.

        Args:
            classes: Those of posts that have come or gone.
            old: Their centroids before that.
            was_known: Which of these took part.
        """
        self.class_sums.index_fill_(0, classes[self.counts.index_select(0, classes) == 0], 0)
        new, is_known = self._centroids_of(classes)
        signs = torch.cat([is_known, was_known]).double()
        signs[len(classes) :].neg_()
        num_known = int(self.num_known) + int(signs.sum())
        if not num_known:
            return
        if not int(self.num_known):
            self.mean.copy_(new[is_known][0])  # any point will do, and one of them is near
        away = torch.cat([new, old]).sub_(self.mean)
        moved = signs @ away
        change = signs.dot(torch.linalg.vecdot(away, away))
        self.num_known.fill_(num_known)
        self.mean.add_(moved, alpha=1 / num_known)
        self.scatter.add_(change).sub_(moved.dot(moved), alpha=1 / num_known).clamp_(min=0)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Load a state, also one of an earlier version: without a summary, or with sums of a lap.

        A state from before the queue was full, saved with another `min_samples_per_class`, is
        summarised anew, too.
        """
        state.pop(f"{prefix}lap_sums", None)
        names = [f"{prefix}{name}" for name in ("num_known", "mean", "scatter")]
        is_earlier = f"{prefix}counts" in state and not any(name in state for name in names)
        if is_earlier:
            own = (self.num_known, self.mean, self.scatter)
            state.update(zip(names, own, strict=True))
        super()._load_from_state_dict(state, prefix, *rest)
        if is_earlier or int(self.num_known) != int((self.counts >= self._min_samples()).sum()):
            self._summarise(torch.arange(self.num_classes, device=self.counts.device))

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
    counts = labels.new_zeros(num_classes).index_add_(0, labels, torch.ones_like(labels))
    sums = features.new_zeros(num_classes, features.shape[1]).index_add_(0, labels, features)
    return _means(sums, counts), counts


def compare(
    labels: Int[Tensor, " batch"],
    centroids: Float[Tensor, "classes dim"],
    counts: Int[Tensor, " classes"],
) -> Comparison:
    """Return what posts are compared with, for `congruity_mean`, in O(classes x dim).

    Args:
        labels: Classes y.
        centroids: Class means c.
        counts: Posts averaged in each centroid; 0 if there is none.
    """
    num_classes, centroids = len(centroids), centroids.detach().double()
    labels, is_known = labels.to(centroids.device), counts.to(centroids.device) > 0
    is_class = (labels >= 0) & (labels < num_classes)
    known = centroids[is_known]
    mean = known.sum(0) / max(len(known), 1)
    scatter = (known - mean).square().sum()
    return Comparison(
        torch.where(is_class, labels, num_classes),  # one more class, without a centroid
        F.pad(centroids, (0, 0, 0, 1)),
        F.pad(is_known.long(), (0, 1)),
        min_samples=1,
        num_known=len(known),
        mean=mean,
        scatter=scatter,
    )


def require_labels(labels: Int[Tensor, " batch"], num_classes: int) -> None:
    """Raise a DataError unless each label is from 0 to `num_classes` - 1."""
    classes = labels.tolist()
    if not classes or (min(classes) >= 0 and max(classes) < num_classes):
        return
    position = next(i for i, label in enumerate(classes) if not 0 <= label < num_classes)
    raise DataError(
        f"Post {position} of the batch has label {classes[position]}, but the loss needs "
        f"a label from 0 to {num_classes - 1} for every post."
    )


def _means(sums: Tensor, counts: Tensor) -> Tensor:
    return sums / counts.clamp(min=1).unsqueeze(1)
