"""Contrastive losses between the posts of a batch: by label, and by two views of each post."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from mvcn.types import ContrastForm


def data_contrast(
    views: Float[Tensor, "2 batch dim"], temperature: float, form: ContrastForm = "corrected"
) -> Float[Tensor, ""]:
    r"""Pull the two views of a post together, and push views of different posts apart.

    .. math::
        -\frac1B \sum_i \log \frac{\exp(z_i^\top z'_i / \tau)}{\sum_j \exp(z_i^\top z'_j / \tau)}

    Args:
        views: Both views of each post.
        temperature: tau, above 0.
        form: ``corrected`` normalises the views to length 1; ``faithful`` does not.

    Source:
        Li et al., Findings of NAACL 2022, and the authors' code.
    """
    first, second = views if form == "faithful" else F.normalize(views, dim=-1)
    own = torch.arange(len(first), device=first.device)
    return F.cross_entropy(first @ second.T / temperature, own)


def label_contrast(
    features: Float[Tensor, "batch dim"],
    labels: Int[Tensor, " batch"],
    temperature: float,
    form: ContrastForm = "corrected",
) -> Float[Tensor, ""]:
    r"""Pull posts of the same label together, and push posts of different labels apart.

    .. math::
        -\frac{1}{|P|} \sum_{(i, j) \in P}
            \log \frac{\exp(z_i^\top z_j / \tau)}{\sum_k \exp(z_i^\top z_k / \tau)}

    over the pairs P of different posts with the same label, with z normalised to length 1, and k
    over all posts but i. It is 0 without such a pair. ``faithful`` follows the authors' code: z is
    not normalised, each post is paired with itself, and the temperature is outside the logarithm,
    where it is only a factor.

    Args:
        features: z, one per post.
        labels: Classes of the posts.
        temperature: tau, above 0.
        form: ``corrected`` or ``faithful``.

    Source:
        Li et al., Findings of NAACL 2022; corrected: Khosla et al., NeurIPS 2020, equation 2, but
        averaged over pairs instead of posts.
    """
    is_pair = labels.unsqueeze(0) == labels.unsqueeze(1)
    if form == "faithful":
        logs = (features @ features.T).log_softmax(-1) / temperature
        return -logs[is_pair].mean()
    normed = F.normalize(features, dim=-1)
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    lowest = torch.finfo(normed.dtype).min
    logs = (normed @ normed.T / temperature).masked_fill(itself, lowest).log_softmax(-1)
    pairs = is_pair & ~itself
    return -logs.masked_fill(~pairs, 0).sum() / pairs.sum().clamp(min=1)
