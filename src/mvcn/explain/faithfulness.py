"""Whether to believe explanations: deletion and insertion curves, and the pointing game."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from tqdm import tqdm

from mvcn.data.synthetic import Box
from mvcn.explain.observation import mean_attention
from mvcn.explain.saliency import (
    METHODS,
    Method,
    class_probabilities,
    image_saliency,
    methods_for,
    num_image_tokens,
)
from mvcn.inputs.batches import EncodedPosts
from mvcn.models.classification import MvcnForClassification

NUM_STEPS = 10
RANDOM_ORDERS = 5
RANDOM_SEED = 0
BOOTSTRAP_RESAMPLES = 1000
TAILS_PERCENT = (2.5, 97.5)
CONTROL = "random"
HALF = 0.5


@dataclass(frozen=True, slots=True)
class Curve:
    """The mean probability of the predicted class as image tokens go or come."""

    deletion: Float[np.ndarray, " step"]
    """With the most salient 0, 10, ... 100 % of the image tokens left out."""
    insertion: Float[np.ndarray, " step"]
    """With only those there."""
    gap: float
    """Mean over posts of (insertion - deletion), each averaged over its curve; the higher, the
    more faithful, and 0 in expectation for an explanation that knows nothing."""
    interval: tuple[float, float]
    """95 % of the gap, over posts."""


def faithfulness(
    model: MvcnForClassification, posts: EncodedPosts, methods: Sequence[Method] = METHODS
) -> dict[str, Curve]:
    """Return each method's curves over posts that have an image, and those of random orders.

    Args:
        model: In evaluation mode.
        posts: Those without an image are passed over.
        methods: Ways to explain; one that the model does not allow raises its ConfigError.

    Source:
        Petsiuk et al., BMVC 2018 (RISE), causal metric. Deviation: image tokens are left out of
        the network, which is used to posts without an image, in place of blurred pixels.
    """
    kept: dict[str, list[Float[np.ndarray, "curve step"]]] = {}
    chosen = [i for i, post in enumerate(posts.posts) if post.image is not None]
    generator = torch.Generator().manual_seed(RANDOM_SEED)
    for position in tqdm(chosen, desc="Faithfulness", unit="post"):
        inputs = posts.inputs([position])
        saliencies = {name: [image_saliency(model, inputs, name)] for name in methods}
        draws = torch.rand(RANDOM_ORDERS, num_image_tokens(model, inputs), generator=generator)
        for name, some in [*saliencies.items(), (CONTROL, list(draws))]:
            kept.setdefault(name, []).append(_curves(model, inputs, some))
    return {name: _summary(np.stack(curves)) for name, curves in kept.items()}


def deletion_masks(order: Tensor) -> Bool[Tensor, "step patch"]:
    """Return which image tokens stay when 0, 10, ... 100 % of them, in this order, have gone."""
    rank = order.argsort()
    gone = torch.linspace(0, len(order), NUM_STEPS + 1).round()
    return rank >= gone.unsqueeze(1)


def _curves(
    model: MvcnForClassification, inputs: dict[str, Tensor], saliencies: Sequence[Tensor]
) -> Float[np.ndarray, "curve step"]:
    """Return the deletion and insertion curves of one post, means over its saliencies."""
    orders = [saliency.argsort(descending=True) for saliency in saliencies]
    masks = torch.cat([deletion_masks(order) for order in orders])
    rows = class_probabilities(model, inputs, torch.cat([masks, ~masks]))
    of_predicted = rows[:, int(rows[0].argmax())]
    return of_predicted.view(2, len(orders), NUM_STEPS + 1).mean(1).numpy()


def most_faithful(curves: Mapping[str, Curve]) -> str:
    """Return the method with the largest gap."""
    return max((name for name in curves if name != CONTROL), key=lambda name: curves[name].gap)


def _summary(curves: Float[np.ndarray, "post curve step"]) -> Curve:
    gaps = (curves[:, 1] - curves[:, 0]).mean(1)
    drawn = np.random.default_rng(RANDOM_SEED).integers(
        len(gaps), size=(BOOTSTRAP_RESAMPLES, len(gaps))
    )
    low, high = np.percentile(gaps[drawn].mean(1), TAILS_PERCENT)
    deletion, insertion = curves.mean(0)
    return Curve(deletion, insertion, float(gaps.mean()), (float(low), float(high)))


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
    weights: Float[Tensor, "head token patch"], region: Float[Tensor, " patch"]
) -> AttentionOnRegion:
    """Return how the attention of one post's text relates to a region of its image.

    Args:
        weights: Text-to-image attention weights, without those of padding.
        region: Share of each image token's cell that belongs to the region, as `cover_shares`
            gives it.
    """
    mean = mean_attention(weights)
    return AttentionOnRegion(
        mass=float(mean @ region.double()),
        is_hit=is_hit(mean, region),
        zeros=float((weights == 0).double().mean()),
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
