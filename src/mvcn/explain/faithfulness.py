"""Whether what an explanation points at is what the model uses: deletion and insertion curves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from tqdm import tqdm

from mvcn.explain.saliency import (
    METHODS,
    Method,
    class_probabilities,
    image_saliency,
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
