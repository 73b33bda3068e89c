"""Semantic congruity constraint (SCC): pull features to the centroid of their class."""

import warnings
from typing import Any, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mvcn.errors import ConfigError, MvcnError
from mvcn.losses.compiled import CONGRUITY, addresses, library
from mvcn.losses.distributed import gather_batch, global_mean_weight, num_processes
from mvcn.losses.queue import CentroidQueue, Comparison, compare
from mvcn.types import CongruityForm

_FORMS = get_args(CongruityForm)
_EPS = torch.finfo(torch.float32).eps
_SMALLEST = {torch.float32: 1e-50, torch.float64: 1e-290}
"""Sum of squared distances below which the gradient of a ratio might overflow, by its dtype."""
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
        self.queue = CentroidQueue(queue_size, dim, num_classes, min_samples_per_class)
        self.form: CongruityForm = form
        self._silent_batches: int | None = 0
        """Batches without any loss since training began; None after the first with one."""

    def forward(self, features: Tensor, labels: Tensor) -> Float[Tensor, ""]:
        """Return the loss in at least float32; arguments are as for `CentroidQueue.enqueue`."""
        self.queue.require_batch(features, labels)
        labels = labels.long()
        comparison = self.queue.compare(labels)
        loss = congruity_mean(features, comparison, self.form, over_processes=self.training)
        if self.training:
            if self._silent_batches is not None:
                self._warn_once_if_silent(loss)
            self.queue.enqueue_checked(*gather_batch(features, labels))
        return loss

    def extra_repr(self) -> str:
        """Return the settings, for `repr`."""
        return f"form={self.form!r}, min_samples_per_class={self.queue.min_samples_per_class}"

    def _warn_once_if_silent(self, loss: Float[Tensor, ""]) -> None:
        """Warn if no batch has had a loss although there was time enough."""
        queue = self.queue
        assert self._silent_batches is not None  # or this is not called
        if bool(loss) or queue.num_classes == 1:  # a single class has no others
            self._silent_batches = None
            return
        self._silent_batches += 1
        if not queue.is_full() and self._silent_batches < PATIENCE:
            return
        warnings.warn(
            f"The semantic congruity loss was 0 in all {self._silent_batches} batches so far, "
            f"because only {int(queue.num_known)} of {queue.num_classes} classes have the "
            f"{queue.min_samples_per_class} samples in the queue that they need: shuffle the "
            "samples, so that batches have several classes, or lower min_samples_per_class.",
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
    lies on all other centroids; here it is clamped to 1 / eps of float32, 8.4e6, with no gradient
    beyond. Both are 0 with zero gradients on the own centroid, even if all other
    centroids lie there, too, and the quotient would be 0 / 0. Distances below 1e-25 (of float64
    features: 1e-145) count as 0.

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
        Wei et al., ACL 2023, semantic congruity constraint.  We did not have the
        paper: ratio is our reading of "relative L2 distance", share a bounded variant of it, and
        absolute the ablation that is reported not to generalise.
    """
    return congruity_mean(features, compare(labels, centroids, counts), form)


def congruity_mean(
    features: Float[Tensor, "batch dim"],
    comparison: Comparison,
    form: CongruityForm = "ratio",
    *,
    over_processes: bool = False,
    weights: Float[Tensor, " batch"] | None = None,
) -> Float[Tensor, ""]:
    r"""Return the loss of `congruity_loss`, in at least float32.

    A post costs O(dim) whatever the number of classes, since all centroids together enter by their
    mean m and their scatter :math:`s = \sum_k \lVert c_k - m \rVert^2`, two terms that are never
    negative:

    .. math::
        \sum_k \lVert z - c_k \rVert^2 = K \lVert z - m \rVert^2 + s

    Share is the distance to the own centroid over this sum, and ratio = (K - 1) share / (1 -
    share). Computed in float64, in which the last difference has the digits that a ratio of up to
    1 / eps of float32 needs. Gradients are computed with the loss, and cannot be differentiated
    again.

    Args:
        features: Fused features z.
        comparison: What the posts are compared with.
        form: Form of the loss.
        over_processes: Return this process's contribution to the mean over the posts of all
            processes, as `global_mean` does.
        weights: Weight of each post in the mean, above 0; by default all have the same.
    """
    dtype = torch.float64 if features.dtype == torch.float64 else torch.float32
    z, code = features.detach().to(dtype), library(features.device)
    is_elsewhere = code is None or comparison.sums.device != features.device
    mean, gradients, count = (
        _mean_by_torch(z, comparison, form, weights)
        if is_elsewhere or weights is not None
        else _mean_by_c(code, z, comparison, form)
    )
    if over_processes and num_processes() > 1:
        weight = global_mean_weight(count)
        mean, gradients = mean * weight, gradients * weight
    return _WithGradients.apply(features, mean, gradients)  # type: ignore[no-untyped-call,no-any-return]


def _mean_by_torch(
    z: Float[Tensor, "batch dim"],
    comparison: Comparison,
    form: CongruityForm,
    weights: Float[Tensor, " batch"] | None,
) -> tuple[Float[Tensor, ""], Float[Tensor, "batch dim"], Int[Tensor, ""]]:
    """Return the mean loss, its gradients, and the number of posts that contribute.

    Args:
        z: Features in float32 or float64.
        comparison: What the posts are compared with.
        form: Form of the loss.
        weights: As for `congruity_mean`.
    """
    counts = comparison.counts.index_select(0, comparison.labels).unsqueeze(1)
    own = comparison.sums.index_select(0, comparison.labels) / counts.clamp(min=1)
    contributes = (counts >= comparison.min_samples).to(z.device)
    to_own = z - own.to(z.device)
    if form == "absolute":
        losses, gradients = torch.linalg.vecdot(to_own, to_own), 2 * to_own
    else:
        losses, gradients = _relative(z, to_own, comparison, form == "ratio")
        contributes = contributes & (comparison.num_known > 1)
    if weights is None:
        shares = contributes / contributes.sum(dtype=torch.float64).clamp(min=1)
    else:
        given = contributes * weights.double().unsqueeze(1)
        shares = given / given.sum().where(contributes.any(), 1)
    mean = losses.dot(shares.squeeze(1))
    return mean.to(z.dtype), (gradients * shares).to(z.dtype), contributes.sum()


def _relative(
    z: Float[Tensor, "batch dim"],
    to_own: Float[Tensor, "batch dim"],
    comparison: Comparison,
    is_ratio: bool,
) -> tuple[Float[Tensor, " batch"], Float[Tensor, "batch dim"]]:
    """Return the losses of ratio or share, and their gradients, from z and its way to c_y."""
    count = max(comparison.num_known, 2)  # of fewer, no post contributes
    to_mean = z - comparison.mean.to(z.device)
    total = comparison.scatter.to(z.device) + count * torch.linalg.vecdot(to_mean, to_mean)
    total = total.clamp(min=_SMALLEST[z.dtype])
    share = torch.linalg.vecdot(to_own, to_own) / total
    losses, slopes = share, 2 / total
    if is_ratio:
        others, bound = count - 1, (count - 1) * _EPS
        rest = (1 - share).clamp(min=bound)
        losses, slopes = others * share / rest, (rest > bound) * slopes * others / rest.square()
    gradients = to_own - (share * count).unsqueeze(1) * to_mean
    return losses, slopes.unsqueeze(1) * gradients


def _mean_by_c(
    code: Any, z: Float[Tensor, "batch dim"], comparison: Comparison, form: CongruityForm
) -> tuple[Float[Tensor, ""], Float[Tensor, "batch dim"], int]:
    """Do as `_mean_by_torch`."""
    labels, sums, counts, min_samples, num_known, mean, scatter = comparison
    z, labels, sums = z.contiguous(), labels.contiguous(), sums.contiguous()
    mean_loss, gradients = z.new_empty(()), torch.empty_like(z)
    numbers = (*z.shape, min_samples, num_known, _FORMS.index(form), _EPS, _SMALLEST[z.dtype])
    pointers = addresses(z, labels, sums, counts, mean, scatter, mean_loss, gradients)
    return mean_loss, gradients, getattr(code, CONGRUITY[z.dtype])(*numbers, *pointers)


class _WithGradients(torch.autograd.Function):
    """Let a loss pass on the gradients in the features that were computed with it."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, loss: Tensor, gradients: Tensor) -> Tensor:
        ctx.save_for_backward(gradients)
        ctx.dtype = features.dtype
        return loss

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        if torch.is_grad_enabled():
            raise MvcnError(
                "The congruity loss has no second derivatives: leave out create_graph=True."
            )
        (gradients,) = ctx.saved_tensors
        return (gradient * gradients).to(ctx.dtype), None, None


def squared_distances(
    features: Float[Tensor, "batch dim"], centroids: Float[Tensor, "classes dim"]
) -> Float[Tensor, "batch classes"]:
    """Return D(z, c) = ||z - c||^2 of each feature to each centroid, in at least float32.

    As ||z||^2 - 2 z.c + ||c||^2, in float64 and with the mean of the centroids as the origin, so
    that no batch x classes x dim numbers are held and features far from 0 lose nothing.

    Args:
        features: Fused features z.
        centroids: Class means c.
    """
    centroids = centroids.to(features.device, torch.float64)
    origin = centroids.mean(0)
    z, c = features.double() - origin, centroids - origin
    squares = z.square().sum(1, keepdim=True) + c.square().sum(1)
    distances = torch.addmm(squares, z, c.T, alpha=-2).clamp(min=0)
    return distances.to(torch.promote_types(features.dtype, torch.float32))


def require_form(form: str) -> None:
    """Raise a ConfigError unless the form of the constraint exists."""
    if form not in _FORMS:
        raise ConfigError(f"There is no congruity form '{form}': choose from {', '.join(_FORMS)}.")
