"""The training objective: cross-entropy with soft targets plus the congruity constraint."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from mvcn.errors import ConfigError
from mvcn.losses.calibration import soft_targets
from mvcn.losses.congruity import (
    CentroidQueue,
    CongruityForm,
    batch_centroids,
    congruity_terms,
    require_labels,
    squared_distances,
)
from mvcn.losses.contrast import Contrast
from mvcn.losses.gathering import gather_batch, gather_views, mean_of_all, mean_of_own

CentroidSource = Literal["queue", "batch"]


class Targets(NamedTuple):
    """What annotators said of a batch of posts, as class numbers."""

    labels: Int[Tensor, " batch"]
    """The label of each post; every post has one."""
    text_labels: Int[Tensor, " batch"]
    """The label given to the text alone; -1 where absent."""
    image_labels: Int[Tensor, " batch"]
    """The label given to the image alone; -1 where absent."""
    teacher: Float[Tensor, "batch classes"] | None = None
    """What a teacher thinks of each post, as probabilities."""
    teacher_pairs: Float[Tensor, "batch classes classes"] | None = None
    """What it thinks of each post's pair of text and image label, as probabilities."""
    counted: Bool[Tensor, " batch"] | None = None
    """False for a post that stands in where a process of several has none; by default all count."""


@runtime_checkable
class ClassifierOutput(Protocol):
    """What an objective reads of a model's output."""

    @property
    def fused_logits(self) -> Tensor:
        """Scores of the post from its fused feature, ``(batch, classes)``."""

    @property
    def fused_feature(self) -> Tensor:
        """The joint vector z, ``(batch, dim)``."""

    @property
    def views(self) -> Tensor | None:
        """Two views of each post, ``(2, batch, dim)``, in training; None from most models."""

    @property
    def penalty(self) -> Tensor | None:
        """What the model's own weights cost, in training; None from most models."""

    @property
    def pair_logits(self) -> Tensor | None:
        """Scores of each pair of text and image label, ``(batch, classes, classes)``.

        None from a model without an annotation head.
        """


class Objective(nn.Module):
    r"""Named loss parts of a batch, and the memory that they need.

    .. math::
        \mathcal{L} = \mathrm{CE}(q, \mathrm{logits}) + \lambda \mathcal{L}_{scc}
            + \mu \, \mathrm{CE}_{pair}
            + w_l \mathcal{L}_{label} + w_d \mathcal{L}_{data} + w_p \mathcal{L}_{penalty}

    It never sees a model. `forward` only reads; the training loop calls `after_step` once for
    each batch after its backward pass, and `activate` when the queue is filled. All state is in
    buffers, so a checkpoint restores it exactly. A weight of 0 takes its term out altogether.

    With a `torch.distributed` process group all processes must call it together in training. Their
    memories are the same, and the means of their loss parts and of their gradients are those of
    one process that has the whole batch; in evaluation each speaks of its own posts.

    Args:
        num_classes: Classes K.
        feature_dim: Width d of the fused feature.
        congruity_weight: lambda.
        congruity_form: Which distance to the own centroid; see `congruity_loss`.
        centroids: Class means over the queue or over the batch alone.
        queue_size: Posts remembered, N.
        calibration: e_max, the largest share of a target that `soft_targets` moves, 0 to 1.
        calibration_temperature: tau of `soft_targets`, above 0.
        distillation_weight: Share of each target that the teacher's probabilities take over, where
            the targets have them, 0 to 1.
        annotation_weight: mu, of the auxiliary head on the pair of text label and image label.
        contrast: w_l and w_d, and how the two contrasts are taken; by default without them.
        penalty_weight: w_p, of what the model's own weights cost.
        class_weights: Factor of the cross-entropy of a post by its label, one a class, above 0;
            1 by default. The mean is over posts, not over weights.

    Source:
        Wei et al., ACL 2023, total loss.  Deviation: the annotation term, the class weights and
        distillation (Hinton et al., 2015, at temperature 1) are ours, contrasts and penalty belong
        to the systems that MVCN is compared with; all are off by default.
    """

    congruity_active: Tensor
    class_weights: Tensor

    def __init__(  # noqa: PLR0913 (one argument for each setting of the loss)
        self,
        num_classes: int,
        feature_dim: int,
        *,
        congruity_weight: float = 0.1,
        congruity_form: CongruityForm = "ratio",
        centroids: CentroidSource = "queue",
        queue_size: int = 3600,
        calibration: float = 0.0,
        calibration_temperature: float = 1.0,
        distillation_weight: float = 0.0,
        annotation_weight: float = 0.0,
        contrast: Contrast | None = None,
        penalty_weight: float = 0.0,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        _require(congruity_weight >= 0, "congruity weight", congruity_weight, "0 or more")
        _require(annotation_weight >= 0, "annotation weight", annotation_weight, "0 or more")
        _require(
            0 <= distillation_weight <= 1,
            "distillation weight",
            distillation_weight,
            "from 0 to 1",
        )
        _require(0 <= calibration <= 1, "calibration", calibration, "from 0 to 1")
        _require(
            calibration_temperature > 0,
            "calibration temperature",
            calibration_temperature,
            "above 0",
        )
        _require(queue_size >= 1, "queue size", queue_size, "1 or more")
        self.num_classes = num_classes
        self.congruity_weight = congruity_weight
        self.congruity_form: CongruityForm = congruity_form
        self.calibration = calibration
        self.calibration_temperature = calibration_temperature
        self.distillation_weight = distillation_weight
        self.annotation_weight = annotation_weight
        self.contrast = contrast
        self.penalty_weight = penalty_weight
        self.needs_centroids = congruity_weight > 0 or calibration > 0
        self.queue = (
            CentroidQueue(queue_size, feature_dim, num_classes)
            if centroids == "queue" and self.needs_centroids
            else None
        )
        self.register_buffer("congruity_active", torch.zeros((), dtype=torch.bool))
        weights = torch.tensor(class_weights or [1.0] * num_classes, dtype=torch.float32)
        _require(len(weights) == num_classes, "number of class weights", len(weights), num_classes)
        _require(bool((weights > 0).all()), "class weights", class_weights, "above 0")
        self.register_buffer("class_weights", weights, persistent=False)

    def activate(self) -> None:
        """Use centroids from now on, for the constraint and for calibration."""
        self.congruity_active.fill_(True)

    def forward(self, output: ClassifierOutput, targets: Targets) -> dict[str, Float[Tensor, ""]]:
        """Return the parts by name, unweighted, and their weighted sum as ``loss``.

        Raises:
            DataError: A post without a label.
            ConfigError: A weight for what the model does not have.
        """
        require_labels(targets.labels, self.num_classes)
        centroids = self._centroids(output, targets)
        parts = {
            "cross_entropy": self._cross_entropy(output, targets, centroids),
            "congruity": self._congruity(output, targets, centroids),
        }
        loss = parts["cross_entropy"]
        if self.congruity_weight > 0:
            loss = loss + self.congruity_weight * parts["congruity"]
        if self.annotation_weight > 0:
            parts["annotation_cross_entropy"] = self._annotation_cross_entropy(output, targets)
            loss = loss + self.annotation_weight * parts["annotation_cross_entropy"]
        if self.training:
            loss = loss + self._of_training(output, targets, parts)
        return {"loss": loss, **parts}

    def after_step(self, output: ClassifierOutput, targets: Targets) -> None:
        """Remember the batch, in training alone: evaluation leaves no trace."""
        if self.training and self.queue is not None:
            self.queue.enqueue(*gather_batch(*_counted(output.fused_feature, targets)))

    def _centroids(
        self, output: ClassifierOutput, targets: Targets
    ) -> tuple[Tensor, Tensor] | None:
        if not (self.needs_centroids and bool(self.congruity_active)):
            return None
        if self.queue is not None:
            return self.queue.centroids()
        posts = _counted(output.fused_feature, targets)
        return batch_centroids(
            *(gather_batch(*posts) if self.training else posts), self.num_classes
        )

    def _mean(self, terms: Tensor, counted: Tensor | None) -> Tensor:
        """Return the mean over posts: in training those of all processes, else of this one."""
        return mean_of_all(terms, counted) if self.training else mean_of_own(terms, counted)

    def _cross_entropy(
        self,
        output: ClassifierOutput,
        targets: Targets,
        centroids: tuple[Tensor, Tensor] | None,
    ) -> Tensor:
        logits = _at_least_float32(output.fused_logits)
        q = self._soft_targets(logits, output, targets, centroids)
        losses = F.cross_entropy(logits, targets.labels if q is None else q, reduction="none")
        losses = self._distilled(losses, logits, targets.teacher)
        return self._mean(self.class_weights[targets.labels] * losses, targets.counted)

    def _soft_targets(
        self,
        logits: Tensor,
        output: ClassifierOutput,
        targets: Targets,
        centroids: tuple[Tensor, Tensor] | None,
    ) -> Tensor | None:
        if self.calibration == 0:
            return None
        return soft_targets(
            targets.labels,
            self.num_classes,
            unimodal_labels=torch.stack([targets.text_labels, targets.image_labels], 1),
            probabilities=logits.detach().softmax(-1),
            distances=_distances_if_all_known(output.fused_feature.detach(), centroids),
            strength=self.calibration,
            temperature=self.calibration_temperature,
        ).to(logits.dtype)

    def _distilled(self, losses: Tensor, logits: Tensor, teacher: Tensor | None) -> Tensor:
        """Return each post's cross-entropy against its target and its teacher: linear in both."""
        if teacher is None or self.distillation_weight == 0:
            return losses
        taught = F.cross_entropy(logits, teacher.to(logits.dtype), reduction="none")
        return losses.lerp(taught, self.distillation_weight)

    def _annotation_cross_entropy(self, output: ClassifierOutput, targets: Targets) -> Tensor:
        if output.pair_logits is None:
            raise ConfigError("The annotation weight is above 0, but this model has no such head.")
        pairs = _at_least_float32(output.pair_logits)
        teacher = None if targets.teacher_pairs is None else targets.teacher_pairs.flatten(1)
        losses = _pair_cross_entropy(pairs, targets.text_labels, targets.image_labels)
        return self._mean(self._distilled(losses, pairs.flatten(1), teacher), targets.counted)

    def _of_training(
        self, output: ClassifierOutput, targets: Targets, parts: dict[str, Tensor]
    ) -> Tensor | float:
        """Add what models say in training alone to the parts, and return its weighted sum."""
        total: Tensor | float = 0.0
        if self.contrast is not None:
            if output.views is None:
                raise ConfigError("A contrast is wanted, but this model has no views of posts.")
            views = _at_least_float32(output.views).transpose(0, 1)
            views, labels = _counted(views, targets)
            parts |= self.contrast.parts(*gather_views(views.transpose(0, 1), labels))
            total = self.contrast.total(parts)
        if self.penalty_weight > 0:
            if output.penalty is None:
                raise ConfigError("The penalty weight is above 0, but this model has no penalty.")
            parts["penalty"] = _at_least_float32(output.penalty)
            total = total + self.penalty_weight * parts["penalty"]
        return total

    def _congruity(
        self,
        output: ClassifierOutput,
        targets: Targets,
        centroids: tuple[Tensor, Tensor] | None,
    ) -> Tensor:
        if self.congruity_weight == 0 or centroids is None:
            return _at_least_float32(output.fused_logits).new_zeros(())
        terms, contributes = congruity_terms(
            output.fused_feature, targets.labels, *centroids, form=self.congruity_form
        )
        if targets.counted is not None:
            contributes = contributes & targets.counted
        return self._mean(terms, contributes)


def _require(is_valid: bool, name: str, value: object, allowed: object) -> None:
    if not is_valid:
        raise ConfigError(f"The {name} is {value}, but must be {allowed}.")


def _counted(rows: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
    """Return the rows and the labels of the posts that count."""
    if targets.counted is None:
        return rows, targets.labels
    return rows[targets.counted], targets.labels[targets.counted]


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _distances_if_all_known(
    features: Tensor, centroids: tuple[Tensor, Tensor] | None
) -> Tensor | None:
    """Return distances only where each class has a centroid: a missing one is not far away."""
    if centroids is None or not bool((centroids[1] > 0).all()):
        return None
    return squared_distances(features, centroids[0])


def _pair_cross_entropy(
    pairs: Float[Tensor, "batch classes classes"],
    text_labels: Int[Tensor, " batch"],
    image_labels: Int[Tensor, " batch"],
) -> Float[Tensor, " batch"]:
    """Return -log p of what each post's annotators said.

    Of a post with one unimodal label, that is the sum over what the other could be; a post
    without any counts as 0.
    """
    logs = pairs.flatten(1).log_softmax(-1).view_as(pairs)
    classes = torch.arange(pairs.shape[1], device=pairs.device)
    fits_text, fits_image = (
        (labels.unsqueeze(1) == classes) | (labels.unsqueeze(1) < 0)
        for labels in (text_labels, image_labels)
    )
    fits = fits_text.unsqueeze(2) & fits_image.unsqueeze(1)
    return -logs.masked_fill(~fits, -torch.inf).flatten(1).logsumexp(-1)
