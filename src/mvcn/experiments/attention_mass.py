"""How much of the text's attention falls on the part of the image that is known to matter."""

import dataclasses
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mvcn.data.drawings import Box
from mvcn.models.batches import LABEL_FIELDS, Collator, EncodedPosts
from mvcn.models.classification import MvcnForClassification
from mvcn.models.images import image_inputs
from mvcn.models.network import probabilities
from mvcn.models.processor import MvcnProcessor
from mvcn.types import Post

BATCH_SIZE = 50
HALF = 0.5
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


@dataclass(frozen=True, slots=True)
class Observation:
    """What a model did with one post."""

    weights: Float[Tensor, "head token patch"]
    """Text-to-image attention of the last text-guided unit, padding removed."""
    probabilities: Float[np.ndarray, " classes"]


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


def mean_attention(
    weights: Float[Tensor, "head token patch"], text_mask: Bool[Tensor, " token"] | None = None
) -> Float[Tensor, " patch"]:
    """Return the weight of each image token, averaged over heads and real text tokens."""
    real = weights if text_mask is None else weights[:, text_mask]
    return real.double().mean((0, 1))


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
        is_hit=bool(region[mean.argmax()] >= HALF),
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


@torch.inference_mode()
def observe(
    model: MvcnForClassification, processor: MvcnProcessor, posts: Sequence[Post]
) -> list[Observation]:
    """Run a model in evaluation mode on posts and keep its attention; features are cached.

    Raises:
        BadImageError: An image cannot be read.
    """
    images = image_inputs(model.eval(), processor)
    images.prepare(posts)
    encoded, collate = EncodedPosts(posts, processor), Collator(processor, images)
    observations = []
    for start in range(0, len(posts), BATCH_SIZE):
        chosen = range(start, min(start + BATCH_SIZE, len(posts)))
        batch = collate([encoded[index] for index in chosen])
        inputs = {name: value for name, value in batch.items() if name not in LABEL_FIELDS}
        output = model(**inputs, output_attentions=True)
        rows = probabilities(output.logits).numpy()
        lengths = inputs["attention_mask"].sum(1).tolist()
        for weights, length, row in zip(output.fusion_attentions[-1], lengths, rows, strict=True):
            observations.append(Observation(weights[:, :length].clone(), row))
    return observations


def measure_observations(
    observations: Sequence[Observation], boxes_px: Sequence[Box], image_px: int
) -> list[AttentionOnRegion]:
    """Measure each post's attention on its own box."""
    measures = []
    for seen, box in zip(observations, boxes_px, strict=True):
        _, num_tokens, num_patches = seen.weights.shape
        region = cover_shares(box, image_px, num_patches)
        everything = torch.ones(num_tokens, dtype=torch.bool)
        measures.append(measure_attention(seen.weights, everything, region))
    return measures
