"""Whether attention and explanations point at the part of an image that is known to decide."""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from tqdm import tqdm

from mvcn.data.synthetic import Box
from mvcn.explain.observation import mean_attention
from mvcn.explain.saliency import Method, image_saliency, methods_for
from mvcn.inputs.batches import EncodedPosts
from mvcn.models.classification import MvcnForClassification

HALF = 0.5


@dataclass(frozen=True, slots=True)
class AttentionOnRegion:
    """Where the text of one post looks."""

    mass: float
    """Share of the attention weights that falls on the region, mean over heads and text tokens."""
    is_hit: bool
    """Whether the image token of the largest mean weight lies in the region by half or more."""
    zeros: float
    """Share of the weights that are exactly 0."""


def cover_shares(box_px: Box, image_px: int, num_tokens: int) -> Float[Tensor, " patch"]:
    """Return the share of each image token's cell that a box covers.

    The tokens are a square grid of cells, row by row; tokens before it (a ViT's class token) have
    no cell and get 0.

    Args:
        box_px: Left, top, right, bottom.
        image_px: Side of the square image.
        num_tokens: Image tokens of the model.
    """
    side = math.isqrt(num_tokens)
    left, top, right, bottom = (edge * side / image_px for edge in box_px)
    columns, rows = _overlap(left, right, side), _overlap(top, bottom, side)
    cells = torch.outer(rows, columns).flatten()
    return torch.cat([cells.new_zeros(num_tokens - side * side), cells])


def _overlap(start: float, end: float, cells: int) -> Float[Tensor, " cells"]:
    """Return how much of each unit cell 0..1, 1..2, ... lies between `start` and `end`."""
    lower = torch.arange(cells, dtype=torch.float64)
    return ((lower + 1).clamp(max=end) - lower.clamp(min=start)).clamp(min=0)


def measure_attention(
    weights: Float[Tensor, "head token patch"],
    region: Float[Tensor, " patch"],
    text_mask: Bool[Tensor, " token"] | None = None,
) -> AttentionOnRegion:
    """Return how the attention of one post's text relates to a region of its image.

    Args:
        weights: Text-to-image attention weights.
        region: Share of each image token's cell that belongs to the region, as `cover_shares`
            gives it.
        text_mask: True for a real text token, False for padding; None where all are real.
    """
    mean = mean_attention(weights, text_mask)
    real = weights if text_mask is None else weights[:, text_mask]
    return AttentionOnRegion(
        mass=float(mean @ region.double()),
        is_hit=is_hit(mean, region),
        zeros=float((real == 0).double().mean()),
    )


def is_hit(saliency: Float[Tensor, " patch"], region: Float[Tensor, " patch"]) -> bool:
    """Return whether the most salient image token lies in the region by half or more."""
    return bool(region[saliency.argmax()] >= HALF)


def hit_rates(
    model: MvcnForClassification, posts: EncodedPosts, regions: Mapping[int, Tensor]
) -> dict[Method, float]:
    """Return the share of posts in which each method that the model allows points at the region.

    Nothing, where no post has a region.

    Args:
        model: In evaluation mode.
        posts: Some of them have a region.
        regions: Position of a post -> share of each image token's cell that the region covers.

    Source:
        The pointing game of Zhang et al., ECCV 2016. Deviation: no margin around the region.
    """
    hits: dict[Method, list[bool]] = {method: [] for method in methods_for(model)}
    for position, region in tqdm(regions.items(), desc="Pointing", unit="post"):
        inputs = posts.inputs([position])
        for method, found in hits.items():
            found.append(is_hit(image_saliency(model, inputs, method), region))
    return {method: statistics.fmean(found) for method, found in hits.items() if found}
