"""The training objective: a weighted sum of named terms, and the centroids that they need."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from mvcn.config import ObjectiveConfig
from mvcn.errors import ConfigError
from mvcn.losses.calibration import soft_targets
from mvcn.losses.congruity import congruity_mean, squared_distances
from mvcn.losses.contrast import data_contrast, label_contrast
from mvcn.losses.distributed import gather_batch, gather_views, global_mean, local_mean
from mvcn.losses.plugged_in import plugged_in_loss
from mvcn.losses.queue import CentroidQueue, Comparison, batch_centroids, compare, require_labels


class BatchCentroids(NamedTuple):
    """Centroids over a batch, in place of those of a queue."""

    means: Float[Tensor, "classes dim"]
    counts: Int[Tensor, " classes"]

    def centroids(self) -> tuple[Float[Tensor, "classes dim"], Int[Tensor, " classes"]]:
        """Return the class means and the number of posts in each."""
        return self.means, self.counts

    def compare(self, labels: Int[Tensor, " batch"]) -> Comparison:
        """Return what posts of these classes are compared with."""
        return compare(labels, self.means, self.counts)


class Targets(NamedTuple):
    """Annotated labels and teacher probabilities of a batch of posts."""

    labels: Int[Tensor, " batch"]
    """The class of each post; every post has one."""
    text_labels: Int[Tensor, " batch"]
    """The class of the text alone; -1 where absent."""
    image_labels: Int[Tensor, " batch"]
    """The class of the image alone; -1 where absent."""
    teacher: Float[Tensor, "batch classes"] | None = None
    """Class probabilities of a teacher."""
    teacher_pairs: Float[Tensor, "batch classes classes"] | None = None
    """Probabilities of a teacher for the pairs of text label and image label."""
    valid_mask: Bool[Tensor, " batch"] | None = None
    """False for a post that only pads the batch of a process; by default all are valid."""


def split_targets(batch: Mapping[str, Any]) -> tuple[dict[str, Any], Targets]:
    """Split a batch into the inputs of the model and the targets of the objective."""
    targets = Targets(**{name: batch[name] for name in Targets._fields if name in batch})
    return {name: batch[name] for name in batch if name not in Targets._fields}, targets


@runtime_checkable
class ClassifierOutput(Protocol):
    """The parts of a model's output that an objective reads."""

    @property
    def fused_logits(self) -> Tensor:
        """Logits of the classes from the fused feature, ``(batch, classes)``."""

    @property
    def fused_feature(self) -> Tensor:
        """The joint vector z, ``(batch, dim)``."""

    @property
    def views(self) -> Tensor | None:
        """Two views of each post, ``(2, batch, dim)``, in training; None from most models."""

    @property
    def penalty(self) -> Tensor | None:
        """A penalty on the model's own weights, in training; None from most models."""

    @property
    def pair_logits(self) -> Tensor | None:
        """Logits of the pairs of text and image label, ``(batch, classes, classes)``.

        None from a model without a unimodal-label head.
        """


class Batch(NamedTuple):
    """Inputs of the terms of an objective."""

    output: ClassifierOutput
    targets: Targets
    settings: ObjectiveConfig
    class_weights: Float[Tensor, " classes"] | None
    centroids: CentroidQueue | BatchCentroids | None
    """None until the objective is activated."""
    is_training: bool

    def mean(self, losses: Float[Tensor, " batch"], mask: Tensor | None = None) -> Tensor:
        """Return the mean over the valid posts, in training over those of all processes.

        Args:
            losses: One loss per post.
            mask: False for further posts to leave out.
        """
        valid = self.targets.valid_mask
        mask = valid if mask is None else mask if valid is None else mask & valid
        return global_mean(losses, mask) if self.is_training else local_mean(losses, mask)

    def labelled_views(self) -> tuple[Float[Tensor, "2 posts dim"], Int[Tensor, " posts"]]:
        """Return both views of the valid posts of all processes, and their labels."""
        views = _required(self.output.views, "views of posts", "the weights of contrast")
        views, labels = _valid(views.transpose(0, 1), self.targets)
        return gather_views(views.transpose(0, 1), labels)


class Term(NamedTuple):
    """One term of an objective."""

    name: str
    weight: float
    """0 removes the term."""
    loss: Callable[[Batch], Tensor]
    """A pure function that returns the unweighted loss, a scalar of at least float32.

    State belongs to the `Objective`, which is saved with each checkpoint; terms are not.
    """
    in_training_only: bool = False


class Objective(nn.Module):
    r"""The training loss: a list of weighted terms, and the class centroids that they need.

    .. math::
        \mathcal{L} = \mathrm{CE}(q, \mathrm{logits}) + \lambda \mathcal{L}_{scc}
            + \mu \, \mathrm{CE}_{pair}
            + w_l \mathcal{L}_{label} + w_d \mathcal{L}_{data} + w_p \mathcal{L}_{penalty}
            + \sum_i w_i \mathcal{L}_i

    It never sees a model. `forward` changes no state; the training loop calls `after_step` once per
    batch after the backward pass, and `activate` when the queue is filled. All state is in buffers,
    so a checkpoint restores it exactly.

    With a `torch.distributed` process group all processes must call it together in training. Their
    queues are equal, and the means of their terms and gradients are those of a single process with
    the complete batch; in evaluation each process sees only its own posts.

    Args:
        settings: Weights and forms of the terms; a weight of 0 removes a term.
        class_names: Names of the K classes, in the order of the logits.
        feature_size: Width d of the fused feature.
        has_unimodal_head: Whether the model predicts pairs of text label and image label; otherwise
            the weight of that term is ignored.
        labels: Classes of the training posts, which ``class_weights: auto`` counts.

    Raises:
        ConfigError: A class weight is not above 0, or its class does not exist; or a loss of a
            plug-in is not there.

    Source:
        Wei et al., ACL 2023, total loss.  Deviation: the unimodal-label term, the class weights and
        distillation (Hinton et al., 2015, at temperature 1) are ours, contrasts and penalty belong
        to the baselines, and the sum is of plug-ins; all are off by default.
    """

    congruity_active: Tensor
    class_weights: Tensor | None

    def __init__(
        self,
        settings: ObjectiveConfig,
        class_names: Sequence[str],
        feature_size: int,
        *,
        has_unimodal_head: bool = True,
        labels: Int[np.ndarray, " posts"] | None = None,
    ) -> None:
        super().__init__()
        self.terms = [term for term in _terms(settings, has_unimodal_head) if term.weight > 0]
        self.settings = settings
        self.num_classes = len(class_names)
        self.queue = (
            CentroidQueue(settings.queue_size, feature_size, self.num_classes)
            if uses_queue(settings)
            else None
        )
        self.register_buffer("congruity_active", torch.zeros((), dtype=torch.bool))
        weights = _class_weights(settings.class_weights, class_names, labels)
        self.register_buffer("class_weights", weights, persistent=False)

    def activate(self) -> None:
        """Use centroids from now on, for the constraint and for calibration."""
        self.congruity_active.fill_(True)

    def forward(self, output: ClassifierOutput, targets: Targets) -> dict[str, Float[Tensor, ""]]:
        """Return the weighted sum as ``loss``, followed by the unweighted terms by name.

        Raises:
            DataError: A post has no label.
            ConfigError: The model has no output for a term with a weight.
        """
        require_labels(targets.labels, self.num_classes)
        centroids = self._centroids(output, targets)
        batch = Batch(output, targets, self.settings, self.class_weights, centroids, self.training)
        losses: dict[str, Tensor] = {}
        with torch.autocast(targets.labels.device.type, enabled=False):
            for term in self.terms:
                if self.training or not term.in_training_only:
                    losses[term.name] = term.loss(batch)
        weighted = [term.weight * losses[term.name] for term in self.terms if term.name in losses]
        return {"loss": sum(weighted[1:], start=weighted[0]), **losses}

    def after_step(self, output: ClassifierOutput, targets: Targets) -> None:
        """Add the batch to the queue, in training only."""
        if self.training and self.queue is not None:
            self.queue.enqueue(*gather_batch(*_valid(output.fused_feature, targets)))

    def _centroids(
        self, output: ClassifierOutput, targets: Targets
    ) -> CentroidQueue | BatchCentroids | None:
        if not (uses_centroids(self.settings) and bool(self.congruity_active)):
            return None
        if self.queue is not None:
            return self.queue
        posts = _valid(output.fused_feature, targets)
        posts = gather_batch(*posts) if self.training else posts
        return BatchCentroids(*batch_centroids(*posts, self.num_classes))


def uses_centroids(settings: ObjectiveConfig) -> bool:
    """Return whether a term of the objective needs class centroids."""
    return settings.congruity_weight > 0 or settings.calibration > 0


def uses_queue(settings: ObjectiveConfig) -> bool:
    """Return whether the objective takes class centroids over a queue of past features."""
    return uses_centroids(settings) and settings.centroids == "queue"


def _terms(settings: ObjectiveConfig, has_unimodal_head: bool) -> list[Term]:
    unimodal_weight = settings.unimodal_label_weight if has_unimodal_head else 0.0
    return [
        Term("cross_entropy", 1.0, _cross_entropy),
        Term("congruity", settings.congruity_weight, _congruity),
        Term("unimodal_cross_entropy", unimodal_weight, _pair_cross_entropy),
        Term("label_contrast", settings.label_contrast_weight, _label_contrast, True),
        Term("data_contrast", settings.data_contrast_weight, _data_contrast, True),
        Term("penalty", settings.penalty_weight, _penalty, True),
        *(Term(name, w, plugged_in_loss(name)) for name, w in settings.losses.items() if w > 0),
    ]


def _cross_entropy(batch: Batch) -> Tensor:
    logits, targets = _at_least_float32(batch.output.fused_logits), batch.targets
    expected = targets.labels if batch.settings.calibration == 0 else _soften(batch, logits)
    losses = F.cross_entropy(logits, expected, reduction="none")
    losses = _distill(batch, losses, logits, targets.teacher)
    if batch.class_weights is not None:
        losses = batch.class_weights[targets.labels] * losses
    return batch.mean(losses)


def _soften(batch: Batch, logits: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch classes"]:
    """Return soft targets; distances are only used if each class has a centroid."""
    targets, distances = batch.targets, None
    if batch.centroids is not None:
        centroids, counts = batch.centroids.centroids()
        if bool((counts > 0).all()):
            distances = squared_distances(batch.output.fused_feature.detach(), centroids)
    return soft_targets(
        targets.labels,
        logits.shape[1],
        unimodal_labels=torch.stack([targets.text_labels, targets.image_labels], 1),
        probabilities=logits.detach().softmax(-1),
        distances=distances,
        strength=batch.settings.calibration,
        temperature=batch.settings.calibration_temperature,
    ).to(logits.dtype)


def _distill(
    batch: Batch, losses: Tensor, logits: Tensor, teacher: Tensor | None
) -> Float[Tensor, " batch"]:
    """Return each post's loss, interpolated with the cross-entropy against the teacher."""
    if teacher is None or batch.settings.distillation_weight == 0:
        return losses
    distillation_loss = F.cross_entropy(logits, teacher.to(logits.dtype), reduction="none")
    return losses.lerp(distillation_loss, batch.settings.distillation_weight)


def _congruity(batch: Batch) -> Tensor:
    """Return the congruity loss, 0 until the objective is activated."""
    if batch.centroids is None:
        return _at_least_float32(batch.output.fused_logits).new_zeros(())
    features, labels = _valid(batch.output.fused_feature, batch.targets)
    comparison, form = batch.centroids.compare(labels), batch.settings.congruity_form
    return congruity_mean(features, comparison, form, over_processes=batch.is_training)


def _pair_cross_entropy(batch: Batch) -> Tensor:
    """Return -log p of the annotated text and image labels.

    A missing one of the two is summed over; without both the loss is 0.
    """
    targets, setting = batch.targets, "objective.unimodal_label_weight"
    pairs = _required(batch.output.pair_logits, "head for unimodal labels", setting)
    logs = pairs.flatten(1).log_softmax(-1).view_as(pairs)
    classes = torch.arange(pairs.shape[1], device=pairs.device)
    fits_text, fits_image = (
        (labels.unsqueeze(1) == classes) | (labels.unsqueeze(1) < 0)
        for labels in (targets.text_labels, targets.image_labels)
    )
    fits = fits_text.unsqueeze(2) & fits_image.unsqueeze(1)
    losses = -logs.masked_fill(~fits, -torch.inf).flatten(1).logsumexp(-1)
    teacher = None if targets.teacher_pairs is None else targets.teacher_pairs.flatten(1)
    return batch.mean(_distill(batch, losses, pairs.flatten(1), teacher))


def _label_contrast(batch: Batch) -> Tensor:
    views, labels = batch.labelled_views()
    settings = batch.settings
    return label_contrast(views[0], labels, settings.contrast_temperature, settings.contrast_form)


def _data_contrast(batch: Batch) -> Tensor:
    views, _ = batch.labelled_views()
    settings = batch.settings
    return data_contrast(views, settings.contrast_temperature, settings.contrast_form)


def _penalty(batch: Batch) -> Tensor:
    return _required(batch.output.penalty, "penalty", "objective.penalty_weight")


def _class_weights(
    given: str | dict[str, float],
    class_names: Sequence[str],
    labels: Int[np.ndarray, " posts"] | None,
) -> Float[Tensor, " classes"] | None:
    """Return the weight of each class, in the order of the logits."""
    if given == "none":
        return None
    if given == "auto":
        assert labels is not None  # training passes them
        counts = np.bincount(labels, minlength=len(class_names)).clip(min=1)
        return torch.tensor(len(labels) / (len(class_names) * counts), dtype=torch.float32)
    assert isinstance(given, dict)  # the configuration allows nothing else
    _check_class_weights(given, class_names)
    return torch.tensor([given.get(name, 1.0) for name in class_names], dtype=torch.float32)


def _check_class_weights(given: Mapping[str, float], class_names: Sequence[str]) -> None:
    """Raise a ConfigError if a weight is not above 0 or its class does not exist."""
    if unknown := sorted(set(given) - set(class_names)):
        raise ConfigError(
            f"Setting 'objective.class_weights' has {', '.join(unknown)}, but the classes are "
            f"{', '.join(class_names)}."
        )
    if min(given.values(), default=1) <= 0:
        raise ConfigError(f"Setting 'objective.class_weights' is {given}, but must be above 0.")


def _required(tensor: Tensor | None, what: str, setting: str) -> Tensor:
    if tensor is None:
        raise ConfigError(f"This model has no {what}: set {setting} to 0.")
    return _at_least_float32(tensor)


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _valid(values: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
    """Return the values and labels of the valid posts."""
    if targets.valid_mask is None:
        return values, targets.labels
    return values[targets.valid_mask], targets.labels[targets.valid_mask]
