"""Semantic congruity constraint (SCC): pull features to the centroid of their class."""

import warnings
from typing import get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mvcn.errors import ConfigError
from mvcn.losses.distributed import gather_batch, global_mean, local_mean
from mvcn.losses.queue import CentroidQueue
from mvcn.types import CongruityForm

PATIENCE = 100
"""Batches without any loss after which a warning is given, if the queue is not full before."""


class SemanticCongruityLoss(nn.Module):
    """The semantic congruity constraint with its queue, as a loss for any classifier.

    Add it to the loss of a classifier, on the features that its last layer reads:

    >>> import torch
    >>> constraint = SemanticCongruityLoss(num_classes=10, dim=64, queue_size=1000)
    >>> features, labels = torch.randn(16, 64, requires_grad=True), torch.arange(16) % 10
    >>> cross_entropy = torch.nn.functional.cross_entropy(features[:, :10], labels)
    >>> (cross_entropy + 0.1 * constraint(features, labels)).backward()

    In training mode each call first compares the features with the centroids of the queue, then
    replaces the oldest posts of the queue by them: call it once per batch or micro-batch. In
    evaluation mode (`eval`) it only compares. Until the queue is full, only classes with at least
    `min_samples_per_class` samples in it count, so that the first batches have a loss of 0; to
    start earlier, pass features of training posts to `queue.enqueue`. A warning is given once if
    the loss of all samples is still 0 when the queue is full or after 100 batches. The queue is
    stored in buffers, and thus saved with a module that contains this one.

    With a `torch.distributed` process group every process enqueues the features of all processes,
    in the order of ranks: the queues, and in training the means of losses and gradients, are those
    of a single process with the complete batch, however many posts each process has.

    Args:
        num_classes: Number of classes K.
        dim: Width d of a feature.
        queue_size: Size N of the queue; should not exceed the number of training posts. The cost
            of a step does not depend on it.
        form: Form of the loss; see `congruity_loss`.
        min_samples_per_class: Samples of a class in the queue from which on its centroid is used.
            In a full queue, every centroid is used.

    Raises:
        ConfigError: A number is below 1, or the form does not exist.

    Source:
        Wei et al., ACL 2023, semantic congruity constraint and accumulating calibration.
        Deviation: there an auxiliary module fills the queue before it is used; here the first
        samples of the training do, and a class takes part once it has enough of them.
    """

    def __init__(
        self,
        num_classes: int,
        dim: int,
        queue_size: int = 3600,
        form: CongruityForm = "ratio",
        min_samples_per_class: int = 10,
    ) -> None:
        """Create an empty queue; the arguments are described with the class."""
        super().__init__()
        require_form(form)
        if min_samples_per_class < 1:
            raise ConfigError(
                f"min_samples_per_class is {min_samples_per_class}, but must be at least 1."
            )
        self.queue = CentroidQueue(queue_size, dim, num_classes)
        self.form: CongruityForm = form
        self.min_samples_per_class = min_samples_per_class
        self._silent_batches: int | None = 0
        """Batches without any loss since training began; None after the first with one."""

    def forward(self, features: Tensor, labels: Tensor) -> Float[Tensor, ""]:
        """Return the loss in at least float32; arguments are as for `CentroidQueue.enqueue`."""
        self.queue.require_batch(features, labels)
        labels = labels.long()
        centroids, counts = self.queue.centroids()
        is_full = self.queue.is_full()
        if not is_full:
            counts *= counts >= self.min_samples_per_class
        losses, contributes = congruity_losses(features, labels, centroids, counts, self.form)
        if not self.training:
            return local_mean(losses, contributes)
        self._warn_once_if_silent(losses[contributes], counts, is_full=is_full)
        self.queue.enqueue(*gather_batch(features, labels))
        return global_mean(losses, contributes)

    def extra_repr(self) -> str:
        """Return the settings, for `repr`."""
        return f"form={self.form!r}, min_samples_per_class={self.min_samples_per_class}"

    def _warn_once_if_silent(
        self, losses: Float[Tensor, " samples"], counts: Int[Tensor, " classes"], *, is_full: bool
    ) -> None:
        """Warn if no batch has had a loss although there was time enough.

        Args:
            losses: Of the samples that contribute.
            counts: Samples in the queue of each class that takes part.
            is_full: Whether the queue was full.
        """
        if self._silent_batches is None or len(counts) == 1:  # a single class has no others
            return
        if bool(losses.any()):
            self._silent_batches = None
            return
        self._silent_batches += 1
        if not is_full and self._silent_batches < PATIENCE:
            return
        warnings.warn(
            f"The semantic congruity loss was 0 in all {self._silent_batches} batches so far: "
            f"{int((counts > 0).sum())} of {len(counts)} classes have the "
            f"{self.min_samples_per_class} samples in the queue with which a class takes part. "
            "Shuffle the samples, so that batches have several classes, or give a smaller "
            "min_samples_per_class.",
            stacklevel=3,
        )
        self._silent_batches = None


def congruity_loss(
    features: Float[Tensor, "batch dim"],
    labels: Int[Tensor, " batch"],
    centroids: Float[Tensor, "classes dim"],
    counts: Int[Tensor, " classes"],
    form: CongruityForm = "ratio",
) -> Float[Tensor, ""]:
    r"""Return the mean distance of features to the centroid of their class.

    .. math::
        \mathrm{ratio} &: \frac{1}{B} \sum_i D(z_i, c_{y_i}) \Big/
            \frac{1}{K-1} \sum_{k \ne y_i} D(z_i, c_k) \\
        \mathrm{share} &: \frac{1}{B} \sum_i D(z_i, c_{y_i}) \Big/ \sum_k D(z_i, c_k) \\
        \mathrm{absolute} &: \frac{1}{B} \sum_i D(z_i, c_{y_i})

    Ratio and share are dimensionless: they do not change when features and centroids are scaled
    together. Share is at most 1. Ratio is unbounded in the formula and infinite for a feature that
    lies on all other centroids; here it is clamped to 1 / eps of the precision, 8.4e6 in float32,
    with no gradient beyond. Both are 0 with zero gradients on the own centroid, even if all other
    centroids lie there, too, and the quotient would be 0 / 0. Distances below 1e-15, whose squares
    underflow in float32, count as 0.

    Classes without a centroid are left out, also from K. A post whose own class has no centroid
    does not contribute, nor, for ratio and share, does one if no other class has a centroid. The
    mean is over the contributing posts; without any it is 0, with zero gradients.

    Args:
        features: Fused features z.
        labels: Classes y.
        centroids: Class means c, constants: gradients should flow only through `features`.
        counts: Posts averaged in each centroid; 0 if there is none.
        form: One of the three.

    Source:
        Wei et al., ACL 2023, semantic congruity constraint.  Deviation: the formula is not
        public; ratio is our reading of "relative L2 distance", share a bounded variant of it;
        absolute is the ablation that the paper reports not to generalise.
    """
    return local_mean(*congruity_losses(features, labels, centroids, counts, form))


def congruity_losses(
    features: Float[Tensor, "batch dim"],
    labels: Int[Tensor, " batch"],
    centroids: Float[Tensor, "classes dim"],
    counts: Int[Tensor, " classes"],
    form: CongruityForm = "ratio",
) -> tuple[Float[Tensor, " batch"], Bool[Tensor, " batch"]]:
    """Return the loss of each post as in `congruity_loss`, and the mask of contributing posts."""
    distances = squared_distances(features, centroids)
    is_known = counts.to(labels.device) > 0
    is_own = torch.arange(len(counts), device=labels.device) == labels.unsqueeze(1)
    own = (distances * is_own).sum(1)
    has_own = (is_own & is_known).any(1)
    if form == "absolute":
        return own, has_own
    is_other = is_known & ~is_own
    others, count = (distances * is_other).sum(1), is_other.sum(1)
    info = torch.finfo(own.dtype)
    if form == "ratio":
        reference = torch.maximum(others / count.clamp(min=1), info.eps * own)
    else:
        reference = own + others
    # The gradient divides by the reference again, which must not overflow.
    losses = own / torch.where(reference > info.tiny / info.eps, reference, 1)
    return losses, has_own & (count > 0)


def squared_distances(
    features: Float[Tensor, "batch dim"], centroids: Float[Tensor, "classes dim"]
) -> Float[Tensor, "batch classes"]:
    """Return D(z, c) = ||z - c||^2 of each feature to each centroid, in at least float32.

    Args:
        features: Fused features z.
        centroids: Class means c.
    """
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    return (features.unsqueeze(1) - centroids.to(features)).square().sum(-1)


def require_form(form: str) -> None:
    """Raise a ConfigError unless the form of the constraint exists."""
    forms = get_args(CongruityForm)
    if form not in forms:
        raise ConfigError(f"There is no congruity form '{form}': choose {', '.join(forms)}.")
