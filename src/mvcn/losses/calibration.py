"""Adaptive loss calibration (ALC): softer targets for posts whose annotations disagree."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F


@torch.no_grad()
def soft_targets(
    labels: Int[Tensor, " batch"],
    num_classes: int,
    *,
    unimodal_labels: Int[Tensor, "batch 2"],
    probabilities: Float[Tensor, "batch classes"],
    distances: Float[Tensor, "batch classes"] | None,
    strength: float,
    temperature: float,
) -> Float[Tensor, "batch classes"]:
    r"""Return the soft target of each post's cross-entropy.

    .. math::
        q_i = (1 - e_i) \, \mathrm{onehot}(y_i) + e_i u_i, \qquad e_i = e_{\max} s_i, \qquad
        s_i = \min\Bigl(1, \; 2 \sum_{k \ne y_i} u_{ik} \, p_{ik}\Bigr)

    The soft label u is the mean of the post's text label and image label if it has both; else
    softmax(-D / tau) of its distances to the class centroids; else its label. p is the model's
    current prediction.

    The sum in s is the probability that classes drawn from u and from p are the same and not the
    label. It is 0 for a consistent post (u is the label), grows with the inconsistency (the mass of
    u off the label), and adapts to the model: one that is certain of the label keeps the hard
    target; the more it agrees with the other annotator, the softer the target becomes; a class that
    only the model favours softens nothing. For a post with two different unimodal labels, one of
    which is the label, s is the model's probability of the other one (hence the factor 2), so that
    the label keeps at least 1 - strength / 2 of the target and is never outvoted.

    No gradient flows through the targets.

    Args:
        labels: Classes y.
        num_classes: Number of classes K.
        unimodal_labels: Text label and image label of each post; -1 where absent.
        probabilities: The model's current probabilities p.
        distances: D(z, c_k) in squared feature units; None without centroids.
        strength: e_max from 0 (one-hot targets) to 1.
        temperature: tau, in squared feature units.

    Source:
        Wei et al., ACL 2023, adaptive loss calibration.  We did not have the paper: the
        formula is ours.
    """
    dtype = torch.promote_types(probabilities.dtype, torch.float32)
    label = F.one_hot(labels, num_classes).to(dtype)
    soft_label = label if distances is None else (-distances / temperature).softmax(-1).to(dtype)
    has_both = (unimodal_labels >= 0).all(1, keepdim=True)
    mean_label = F.one_hot(unimodal_labels.clamp(min=0), num_classes).to(dtype).mean(1)
    soft_label = torch.where(has_both, mean_label, soft_label)
    agreement_against_label = (soft_label * probabilities * (1 - label)).sum(1, keepdim=True)
    moved = strength * (2 * agreement_against_label).clamp(max=1)
    return (1 - moved) * label + moved * soft_label
