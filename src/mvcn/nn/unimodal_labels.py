"""The unimodal-label head: predict labels of text and image, and derive that of the post."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mvcn.nn.pooling import masked_mean

SMALLEST_PROBABILITY = 1e-6


class UnimodalLabelHead(nn.Module):
    r"""Predict the pair of text label and image label, and merge the two by a given rule.

    .. math::
        p(a, b) = \mathrm{softmax}(W [\bar t; \bar v; z])_{ab}, \quad
        p(k) \propto \sum_{a, b} p(a, b) \, P(k \mid a, b)

    with the mean text token, the mean image token and the fused feature z.

    If the labels of a dataset follow from a text label and an image label, a classifier of the
    post's label alone ignores the information in these two. The pair is predicted jointly, since
    text and image of a post mostly agree. A post without text or image is predicted from the other.

    Args:
        dim: Width of tokens and fused feature.
        num_classes: Number of classes K.
        dropout: Dropout probability before the classifier.

    Source:
        Not in Wei et al., ACL 2023; ours, and off in the recipe of the paper.
    """

    merge_table: Tensor

    def __init__(self, dim: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.classifier = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(3 * dim, num_classes * num_classes)
        )
        self.register_buffer("merge_table", torch.zeros(num_classes, num_classes, num_classes))

    def reset_parameters(self) -> None:
        """Forget the merge rule."""
        nn.init.zeros_(self.merge_table)

    def forward(
        self,
        text: Float[Tensor, "batch token dim"],
        image: Float[Tensor, "batch patch dim"],
        fused: Float[Tensor, "batch dim"],
        text_mask: Bool[Tensor, "batch token"],
        image_mask: Bool[Tensor, "batch patch"],
    ) -> Float[Tensor, "batch classes classes"]:
        """Return the logits of all pairs of text label and image label."""
        means = [masked_mean(text, text_mask), masked_mean(image, image_mask)]
        logits: Tensor = self.classifier(torch.cat([*means, fused], -1))
        return logits.view(-1, self.num_classes, self.num_classes)

    def merge(
        self, pair_logits: Float[Tensor, "batch classes classes"]
    ) -> Float[Tensor, "batch classes"]:
        """Return the log-probabilities of the post's label by the merge rule.

        Pairs that the rule does not cover are left out.
        """
        pairs = pair_logits.flatten(1).softmax(-1)
        rule = _share_of_last(self.merge_table.to(pairs.dtype)).flatten(0, 1)
        merged = pairs @ rule
        probabilities = merged / merged.sum(-1, keepdim=True).clamp(min=SMALLEST_PROBABILITY)
        return probabilities.clamp(min=SMALLEST_PROBABILITY).log()


def estimate_merge_table(
    text_labels: Tensor, image_labels: Tensor, labels: Tensor, num_classes: int
) -> Float[Tensor, "classes classes classes"]:
    """Return the share of posts with text label a, image label b and label k, as [a, b, k].

    Posts without one of the two unimodal labels (-1) are left out; if none is left, all is 0.
    """
    has_both = (text_labels >= 0) & (image_labels >= 0)
    table = torch.zeros(num_classes, num_classes, num_classes)
    indices = (text_labels[has_both], image_labels[has_both], labels[has_both])
    table.index_put_(indices, torch.ones(int(has_both.sum())), accumulate=True)
    return table / table.sum().clamp(min=1)


def _share_of_last(shares: Float[Tensor, "*rows classes"]) -> Float[Tensor, "*rows classes"]:
    """Return the probability of the last index given the others; 0 if these do not occur."""
    totals = shares.sum(-1, keepdim=True)
    return shares / totals.where(totals > 0, 1.0)
