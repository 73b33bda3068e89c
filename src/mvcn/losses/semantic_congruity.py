"""The semantic congruity constraint with its queue, as one loss for any classifier."""

from jaxtyping import Float
from torch import Tensor, nn

from mvcn.losses.congruity import CentroidQueue, CongruityForm, congruity_terms, require_form
from mvcn.losses.gathering import gather_batch, mean_of_all, mean_of_own


class SemanticCongruityLoss(nn.Module):
    """How far features are from the centroid of their class; remembers them for the centroids.

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
        terms = congruity_terms(features, labels, centroids, counts, self.form)
        if not self.training:
            return mean_of_own(*terms)
        self.queue.enqueue(*gather_batch(features, labels))
        return mean_of_all(*terms)
