"""Semantic congruity constraint (SCC): features are pulled to the centroid of their class."""

from typing import get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mvcn.errors import ConfigError
from mvcn.losses.distributed import gather_batch, global_mean, local_mean
from mvcn.losses.queue import CentroidQueue
from mvcn.types import CongruityForm


class SemanticCongruityLoss(nn.Module):
    """The semantic congruity constraint with its queue, as one loss for any classifier.

    Add it to the loss of a classifier, with the features that its last layer reads:

    >>> import torch
    >>> constraint = SemanticCongruityLoss(num_classes=10, dim=64, queue_size=1000)
    >>> features, labels = torch.randn(16, 64, requires_grad=True), torch.arange(16) % 10
    >>> cross_entropy = torch.nn.functional.cross_entropy(features[:, :10], labels)
    >>> (cross_entropy + 0.1 * constraint(features, labels)).backward()

    In training mode each call first measures the features against the centroids of what was
    remembered before, then remembers them in place of the oldest: call it once for each batch or
    micro-batch. In evaluation mode (`eval`) it only measures. Until the queue is full the loss is
    0, since the first features come from a model that has learned nothing; to begin earlier, give
    features of training posts to `queue.enqueue`. What is remembered is in buffers, so that it is
    saved with a module that holds this one.

    With a `torch.distributed` process group every process remembers the features of all, in the
    order of ranks: their queues are equal to each other, and to that of one process that has the
    whole batch. So is the mean of their losses in training, and of their gradients, however many
    posts each of them has.

    Args:
        num_classes: Classes K.
        dim: Width d of a feature.
        queue_size: Posts remembered, N; at most the number of training posts makes sense. A step
            costs the same whatever N is.
        form: Which distance to the own centroid; see `congruity_loss`.

    Raises:
        ConfigError: A number below 1, or a form that does not exist.

    Source:
        Wei et al., ACL 2023, semantic congruity constraint and accumulating calibration.
        Deviation: there the queue is filled by an auxiliary module before it is used; here by
        the first N posts of the training itself, during which the loss is 0.
    """

    def __init__(
        self,
        num_classes: int,
        dim: int,
        queue_size: int = 3600,
        form: CongruityForm = "ratio",
    ) -> None:
        super().__init__()
        require_form(form)
        self.queue = CentroidQueue(queue_size, dim, num_classes)
        self.form: CongruityForm = form

    def forward(self, features: Tensor, labels: Tensor) -> Float[Tensor, ""]:
        """Return the loss, at least in float32; takes what `CentroidQueue.enqueue` takes."""
        self.queue.require_batch(features, labels)
        labels = labels.long()
        centroids, counts = self.queue.centroids()
        if not self.queue.is_full():
            counts.zero_()
        losses, contributes = congruity_losses(features, labels, centroids, counts, self.form)
        if not self.training:
            return local_mean(losses, contributes)
        self.queue.enqueue(*gather_batch(features, labels))
        return global_mean(losses, contributes)


def congruity_loss(
    features: Float[Tensor, "batch dim"],
    labels: Int[Tensor, " batch"],
    centroids: Float[Tensor, "classes dim"],
    counts: Int[Tensor, " classes"],
    form: CongruityForm = "ratio",
) -> Float[Tensor, ""]:
    r"""Return how far the features are from the centroid of their own class.

    .. math::
        \mathrm{ratio} &: \frac{1}{B} \sum_i D(z_i, c_{y_i}) \Big/
            \frac{1}{K-1} \sum_{k \ne y_i} D(z_i, c_k) \\
        \mathrm{share} &: \frac{1}{B} \sum_i D(z_i, c_{y_i}) \Big/ \sum_k D(z_i, c_k) \\
        \mathrm{absolute} &: \frac{1}{B} \sum_i D(z_i, c_{y_i})

    Ratio and share have no unit: they do not change when features and centroids are scaled
    together. Share is at most 1. Ratio has no bound in the formula and is infinite for a feature
    that lies on all other centroids; here it is at most 1 / eps of the precision, 8.4e6 in
    float32, and has no gradient beyond. Both are 0 with zero gradients on the own centroid, also
    where all other centroids lie there, too, and the quotient would be 0 / 0: the feature is where
    the constraint pulls it. Distances that small in float32 that their squares vanish, below
    1e-15, count as none.

    Classes without a centroid are left out, and K counts the others. A post whose own class has
    none contributes nothing, nor does, for ratio and share, one for which no other class has one.
    The mean is over the contributing posts; without any it is 0, with zero gradients.

    Args:
        features: Fused features z.
        labels: Classes y.
        centroids: Class means c, constants: gradients are meant to flow through `features` alone.
        counts: Posts behind each centroid; 0 where there is no centroid.
        form: Which of the three.

    Source:
        Wei et al., ACL 2023, semantic congruity constraint.  Deviation: the formula is not
        public; ratio is our reading of "relative L2 distance". Share is its bounded relative;
        absolute is the ablation that is said not to generalise.
    """
    return local_mean(*congruity_losses(features, labels, centroids, counts, form))


def congruity_losses(
    features: Float[Tensor, "batch dim"],
    labels: Int[Tensor, " batch"],
    centroids: Float[Tensor, "classes dim"],
    counts: Int[Tensor, " classes"],
    form: CongruityForm = "ratio",
) -> tuple[Float[Tensor, " batch"], Bool[Tensor, " batch"]]:
    """Return the loss of each post as in `congruity_loss`, and which of the posts contribute."""
    distances = squared_distances(features, centroids)
    is_known = counts.to(labels.device) > 0
    is_own = torch.arange(len(counts), device=labels.device) == labels.unsqueeze(1)
    own = (distances * is_own).sum(1)
    is_other = is_known & ~is_own
    contributes, losses = (is_own & is_known).any(1), own
    if form != "absolute":
        contributes = contributes & is_other.any(1)
        others = (distances * is_other).sum(1)
        if form == "ratio":
            mean = others / is_other.sum(1).clamp(min=1)
            reference = torch.maximum(mean, torch.finfo(own.dtype).eps * own)
        else:
            reference = own + others
        # The gradient divides by the reference once more, and must not overflow.
        smallest = torch.finfo(own.dtype).tiny / torch.finfo(own.dtype).eps
        losses = own / torch.where(reference > smallest, reference, 1)
    return losses, contributes


def squared_distances(
    features: Float[Tensor, "batch dim"], centroids: Float[Tensor, "classes dim"]
) -> Float[Tensor, "batch classes"]:
    """Return D(z, c) = ||z - c||^2 of each feature to each centroid, at least in float32.

    Args:
        features: Fused features z.
        centroids: Class means c.
    """
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    return (features.unsqueeze(1) - centroids.to(features)).square().sum(-1)


def require_form(form: str) -> None:
    """Check that a form of the constraint exists.

    Raises:
        ConfigError: It does not.
    """
    forms = get_args(CongruityForm)
    if form not in forms:
        raise ConfigError(f"There is no congruity form '{form}': choose {', '.join(forms)}.")
