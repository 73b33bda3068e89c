"""Auxiliary heads: what text alone and image alone say, and what follows for the post."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

SMALLEST_PROBABILITY = 1e-6


class UnimodalHeads(nn.Module):
    r"""Classify the text alone and the image alone, and merge the two by a given rule.

    .. math::
        p(k) \propto \sum_{a, b} p_{text}(a) \, p_{image}(b) \, P(k \mid a, b)

    Where a data set's label is a fixed function of a text label and an image label, its
    annotators' two opinions are information that a classifier of the post's label throws away.
    For a post that lacks one of the two, the rule is averaged over what the lacking one could
    be: P(k | a) or P(k | b). All three come from `merge_table`, the share of training posts with
    text label a, image label b and label k.

    Args:
        dim: Width of the text and image tokens.
        num_classes: Classes K.
        dropout: Share dropped before the classifiers.

    Source:
        Not in Wei et al., ACL 2023; ours, and off in the recipe of the paper.
    """

    merge_table: Tensor

    def __init__(self, dim: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.text_classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(dim, num_classes))
        self.image_classifier = nn.Sequential(
            nn.Linear(dim, dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(dim, num_classes)
        )
        self.register_buffer("merge_table", torch.zeros(num_classes, num_classes, num_classes))

    def forward(
        self,
        text: Float[Tensor, "batch token dim"],
        image: Float[Tensor, "batch patch dim"],
        text_mask: Bool[Tensor, "batch token"],
    ) -> tuple[Float[Tensor, "batch classes"], Float[Tensor, "batch classes"]]:
        """Return the logits of the text labels and of the image labels."""
        weights = text_mask.to(text.dtype).unsqueeze(-1)
        text_mean = (text * weights).sum(1) / weights.sum(1).clamp(min=1)
        return self.text_classifier(text_mean), self.image_classifier(image.mean(1))

    def merge(
        self,
        text_logits: Float[Tensor, "batch classes"],
        image_logits: Float[Tensor, "batch classes"],
        has_text: Bool[Tensor, " batch"],
        has_image: Bool[Tensor, " batch"],
    ) -> Float[Tensor, "batch classes"]:
        """Return the log-probabilities of the post's label by the rule; 0 without any modality."""
        shares = self.merge_table.to(text_logits.dtype)
        text, image = text_logits.softmax(-1), image_logits.softmax(-1)
        by_both = torch.einsum("na,nb,abk->nk", text, image, _share_of_last(shares))
        by_text = text @ _share_of_last(shares.sum(1))
        by_image = image @ _share_of_last(shares.sum(0))
        has_text, has_image = has_text.unsqueeze(1), has_image.unsqueeze(1)
        merged = torch.where(has_text & has_image, by_both, by_text.where(has_text, by_image))
        probabilities = merged / merged.sum(-1, keepdim=True).clamp(min=SMALLEST_PROBABILITY)
        logs = probabilities.clamp(min=SMALLEST_PROBABILITY).log()
        return logs * (has_text | has_image)


def estimate_merge_table(
    text_labels: Tensor, image_labels: Tensor, labels: Tensor, num_classes: int
) -> Float[Tensor, "classes classes classes"]:
    """Return the share of posts with text label a, image label b and label k, as [a, b, k].

    Posts that lack one of the two unimodal labels (-1) do not count; without any, all is 0.
    """
    has_both = (text_labels >= 0) & (image_labels >= 0)
    table = torch.zeros(num_classes, num_classes, num_classes)
    indices = (text_labels[has_both], image_labels[has_both], labels[has_both])
    table.index_put_(indices, torch.ones(int(has_both.sum())), accumulate=True)
    return table / table.sum().clamp(min=1)


def _share_of_last(shares: Float[Tensor, "*rows classes"]) -> Float[Tensor, "*rows classes"]:
    """Return the probability of the last index given the others; 0 where they do not occur."""
    totals = shares.sum(-1, keepdim=True)
    return shares / totals.where(totals > 0, 1.0)
