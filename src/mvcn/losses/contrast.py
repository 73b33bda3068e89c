"""Contrasts between the posts of a batch: by their labels, and by two views of each."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from mvcn.types import ContrastForm


def data_contrast(
    views: Float[Tensor, "2 batch dim"], temperature: float, form: ContrastForm = "corrected"
) -> Float[Tensor, ""]:
    r"""Pull the two views of a post together and push those of other posts apart.

    .. math::
        -\frac1B \sum_i \log \frac{\exp(z_i^\top z'_i / \tau)}{\sum_j \exp(z_i^\top z'_j / \tau)}

    Args:
        views: Both views of each post.
        temperature: tau, above 0.
        form: ``corrected`` scales the views to length 1; ``faithful`` does not.

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
    r"""Pull posts of one label together and push those of other labels apart.

    .. math::
        -\frac{1}{|P|} \sum_{(i, j) \in P}
            \log \frac{\exp(z_i^\top z_j / \tau)}{\sum_k \exp(z_i^\top z_k / \tau)}

    over the pairs P of different posts with one label, all z of length 1, and k over all posts
    but i. Without such a pair it is 0. ``faithful`` does as the authors' code: z as it is, each
    post a pair with itself, and the temperature outside the logarithm, where it is only a factor.

    Args:
        features: z, one per post.
        labels: Their classes.
        temperature: tau, above 0.
        form: Which of the two.

    Source:
        Li et al., Findings of NAACL 2022; corrected: Khosla et al., NeurIPS 2020, equation 2, but
        with the mean over pairs and not over posts.
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
