"""Class centroids: over a queue of past features (accumulating calibration), or over a batch."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mvcn.errors import ConfigError, DataError, MvcnError


class Comparison(NamedTuple):
    """What posts are compared with: each one's own centroid, and a summary of all centroids.

    The summary gives the mean squared distance of a feature to all centroids but one in O(dim).
    """

    own: Float[Tensor, "batch dim"]
    """Centroid of the class of each post, in float64."""
    has_own: Bool[Tensor, " batch"]
    """False for a post whose class has no centroid."""
    num_known: int
    """Number of classes with a centroid."""
    mean: Float[Tensor, " dim"]
    """Mean of these centroids, each of which counts once, in float64."""
    scatter: float
    """Sum of their squared distances to the mean."""


class CentroidQueue(nn.Module):
    """First-in-first-out memory of fused features, summarised by class centroids.

    Contents, position, sums and summary are buffers, so a checkpoint restores the queue exactly.
    Stored features are constants: no gradient flows into them or into the centroids. The queue may
    stay on the CPU while the model is on another device.

    The cost of an update depends neither on the size nor on the number of classes: new features are
    added to the sums of their classes, overwritten ones are subtracted, and the centroids of these
    classes alone are exchanged in the mean and the scatter of all centroids. Rounding errors do not
    accumulate: a second set of sums starts from zero with each lap around the queue, and replaces
    the first at the end of the lap, when mean and scatter are computed anew, too.

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
    lap_sums: Tensor
    counts: Tensor
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
        self.register_buffer("lap_sums", torch.zeros(num_classes, dim, dtype=torch.float64))
        self.register_buffer("counts", torch.zeros(num_classes, dtype=torch.int64))
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
        """Return what posts of these classes are compared with, for `congruity_losses`.

        Args:
            labels: From 0 to the number of classes - 1.
        """
        labels = labels.to(self.labels)
        counts = self.counts.index_select(0, labels)
        own = _means(self.class_sums.index_select(0, labels), counts)
        has_own = counts >= self._min_samples()
        return Comparison(own, has_own, int(self.num_known), self.mean, float(self.scatter))

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
        features = features.detach()[-self.size :].to(self.features)
        labels = labels[-self.size :].to(self.labels)
        if not math.isfinite(features.sum(dtype=torch.float64)):  # as a sum of float32 always is
            raise MvcnError(
                "The fused features are not finite numbers, so training has diverged: "
                "lower the learning rate."
            )
        rows_to_end = self.size - int(self.next_slot)
        self._write(features[:rows_to_end], labels[:rows_to_end])
        if len(labels) > rows_to_end:
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

    def _min_samples(self) -> int:
        """Return with how many posts a class has a centroid now."""
        is_one = self.min_samples_per_class == 1 or self.is_full()
        return 1 if is_one else self.min_samples_per_class

    def _write(self, features: Tensor, labels: Tensor) -> None:
        """Overwrite the next slots, which must not extend past the end of the queue."""
        start = int(self.next_slot)
        end = start + len(labels)
        stop = end if self.is_full() else start
        old_features, old_labels = self.features[start:stop], self.labels[start:stop]
        classes = torch.unique(torch.cat([labels, old_labels]))
        before = self._sums_of(classes)
        self._count(old_features.double(), old_labels, sign=-1)
        new_features = features.double()
        self._count(new_features, labels, sign=1)
        self.lap_sums.index_add_(0, labels, new_features)
        self.features[start:end] = features
        self.labels[start:end] = labels
        self.next_slot.fill_(end % self.size)
        if end == self.size:
            self._end_lap()
        else:
            self._exchange(before, self._sums_of(classes))

    def _sums_of(self, classes: Tensor) -> tuple[Tensor, Tensor]:
        return self.class_sums.index_select(0, classes), self.counts.index_select(0, classes)

    def _count(self, features: Tensor, labels: Tensor, sign: int) -> None:
        """Add posts to the sums of their classes, or subtract them."""
        self.class_sums.index_add_(0, labels, features, alpha=sign)
        self.counts.index_add_(0, labels, torch.ones_like(labels), alpha=sign)

    def _end_lap(self) -> None:
        """Replace sums and summary by those that were summed in this lap alone."""
        self.class_sums.copy_(self.lap_sums)
        self.lap_sums.zero_()
        self._summarise()

    def _summarise(self) -> None:
        """Compute mean and scatter of the centroids from all of them."""
        known = (self.counts >= self._min_samples()).nonzero().squeeze(1)
        num_known, mean, scatter = summarise(_means(*self._sums_of(known)))
        self.num_known.fill_(num_known)
        self.mean.copy_(mean)
        self.scatter.copy_(scatter)

    def _exchange(self, before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor]) -> None:
        r"""Exchange the centroids of some classes in mean and scatter.

        With :math:`x_j = c_j - m` of all old and new centroids, signs :math:`s_j` of -1 and 1, and
        :math:`t = \sum_j s_j x_j`, the mean moves by t / K, and the scatter changes by
        :math:`\sum_j s_j \lVert x_j \rVert^2 - \lVert t \rVert^2 / K`.

        Args:
            before: Sums and numbers of posts of the classes.
            after: The same, after posts have come and gone.
        """
        if not int(self.num_known):
            self._summarise()
            return
        sums, counts = (torch.cat(pair) for pair in zip(before, after, strict=True))
        signs = (counts >= self._min_samples()).double()
        signs[: len(signs) // 2].neg_()
        away = _means(sums, counts).sub_(self.mean)
        moved = signs @ away
        self.num_known.add_(signs.sum().long())
        num_known = int(self.num_known)
        self.mean.add_(moved, alpha=1 / num_known)
        change = signs.dot(torch.linalg.vecdot(away, away))
        self.scatter.add_(change).sub_(moved.dot(moved), alpha=1 / num_known).clamp_(min=0)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Load a state, also one of an earlier version, which had no summary.

        A state from before the queue was full, saved with another `min_samples_per_class`, is
        summarised anew, too.
        """
        names = [f"{prefix}{name}" for name in ("num_known", "mean", "scatter")]
        is_earlier = f"{prefix}counts" in state and not any(name in state for name in names)
        if is_earlier:
            own = (self.num_known, self.mean, self.scatter)
            state.update(zip(names, own, strict=True))
        super()._load_from_state_dict(state, prefix, *rest)
        if is_earlier or int(self.num_known) != int((self.counts >= self._min_samples()).sum()):
            self._summarise()

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
    """Return what posts are compared with, for `congruity_losses`, in O(classes x dim).

    Args:
        labels: Classes y.
        centroids: Class means c.
        counts: Posts averaged in each centroid; 0 if there is none.
    """
    centroids = centroids.detach().double()
    labels, is_known = labels.to(centroids.device), counts.to(centroids.device) > 0
    num_known, mean, scatter = summarise(centroids[is_known])
    return Comparison(centroids[labels], is_known[labels], num_known, mean, float(scatter))


def summarise(
    centroids: Float[Tensor, "classes dim"],
) -> tuple[int, Float[Tensor, " dim"], Float[Tensor, ""]]:
    """Return the number of centroids, their mean, and the sum of squared distances to it."""
    mean = centroids.sum(0) / max(len(centroids), 1)
    return len(centroids), mean, (centroids - mean).square().sum()


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
