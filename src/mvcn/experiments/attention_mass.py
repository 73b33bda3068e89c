"""How much of the text's attention falls on the part of the image that is known to matter."""

import dataclasses
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mvcn.data.drawings import Box
from mvcn.explain.observation import Observation, mean_attention
from mvcn.explain.pointing import is_hit

NORMAL_95 = 1.96
"""Standard errors on each side of a mean that make its 95 % interval."""


@dataclass(frozen=True, slots=True)
class AttentionOnRegion:
    """Where the text of one post looks."""

    mass: float
    """Share of the attention weights that falls on the region, mean over heads and text tokens."""
    is_hit: bool
    """Whether the image token of the largest mean weight lies in the region by half or more."""
    zeros: float
    """Share of the weights that are exactly 0."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A mean over posts."""

    mean: float
    deviation: float
    """Sample standard deviation; 0 of a single post."""
    interval: tuple[float, float]
    """95 % by the normal approximation: what other posts would give, not other trainings."""


def cover_shares(box_px: Box, image_px: int, num_tokens: int) -> Float[Tensor, " patch"]:
    """Return the share of each image token's cell that a box covers.

    The tokens are a square grid of cells, row by row; tokens before it (a ViT's class token) stand
    for no cell and get 0.

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
    text_mask: Bool[Tensor, " token"],
    region: Float[Tensor, " patch"],
) -> AttentionOnRegion:
    """Return how the attention of one post's text relates to a region of its image.

    Args:
        weights: Text-to-image attention weights.
        text_mask: True for a real text token, False for padding.
        region: Share of each image token's cell that belongs to the region, as `cover_shares`
            gives it.
    """
    mean = mean_attention(weights, text_mask)
    return AttentionOnRegion(
        mass=float(mean @ region.double()),
        is_hit=is_hit(mean, region),
        zeros=float((weights[:, text_mask] == 0).double().mean()),
    )


def summarize(measures: Sequence[AttentionOnRegion]) -> dict[str, Any]:
    """Return the means over posts as plain values."""
    return {
        "mass": dataclasses.asdict(spread([measure.mass for measure in measures])),
        "hit_rate": statistics.fmean(measure.is_hit for measure in measures),
        "zeros": statistics.fmean(measure.zeros for measure in measures),
        "posts": len(measures),
    }


def spread(values: Sequence[float]) -> Spread:
    """Return mean, deviation and 95 % interval of the mean."""
    mean = statistics.mean(values)
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    margin = NORMAL_95 * deviation / math.sqrt(len(values))
    return Spread(mean, deviation, (mean - margin, mean + margin))


def measure_observations(
    observations: Sequence[Observation], boxes_px: Sequence[Box], image_px: int
) -> list[AttentionOnRegion]:
    """Measure each post's attention on its own box."""
    measures = []
    for seen, box in zip(observations, boxes_px, strict=True):
        assert seen.weights is not None  # the demonstration trains text-guided units
        _, num_tokens, num_patches = seen.weights.shape
        region = cover_shares(box, image_px, num_patches)
        everything = torch.ones(num_tokens, dtype=torch.bool)
        measures.append(measure_attention(seen.weights, everything, region))
    return measures
