"""What a model does with posts: attention and how sparse it is, fused features, probabilities."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import get_args

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mvcn.inputs.batches import EncodedPosts
from mvcn.models.classification import MvcnForClassification
from mvcn.models.network import MvcnOutput, probabilities
from mvcn.nn.attention import MultiHeadAttention, Normalizer
from mvcn.nn.fusion import TextGuidedFusion

BATCH_SIZE = 50


@dataclass(frozen=True, slots=True)
class Observation:
    """What a model did with one post."""

    weights: Float[Tensor, "head token patch"] | None
    """Text-to-image attention of the last text-guided unit, padding removed; None without one."""
    token_weights: Float[Tensor, " token"] | None
    """Share of each text token in the fused feature; None from networks without shares."""
    feature: Float[Tensor, " dim"]
    """z of the paper."""
    probabilities: Float[np.ndarray, " classes"]
    """Calibrated."""


@dataclass(frozen=True, slots=True)
class Sparsity:
    """Text-to-image attention weights of posts, whichever image tokens they lie on."""

    weights: Float[np.ndarray, "post patch"]
    """Of each post the largest weight, the second, and so on; means over heads and text tokens."""
    zeros: float
    """Share of the weights that are exactly 0, mean over posts."""


def observe(model: MvcnForClassification, posts: EncodedPosts) -> Iterator[Observation]:
    """Yield what a model, in evaluation mode from now on, does with each post, in order."""
    model.eval()
    for start in range(0, len(posts), BATCH_SIZE):
        inputs = posts.inputs(range(start, min(start + BATCH_SIZE, len(posts))))
        with torch.inference_mode():
            output = model(**inputs, output_attentions=True)
        rows = probabilities(output.logits, model.config.temperature).numpy()
        for position, is_real in enumerate(inputs["attention_mask"].bool()):
            yield _observation(output, position, is_real, rows[position])


def mean_attention(weights: Float[Tensor, "head token patch"]) -> Float[Tensor, " patch"]:
    """Return the weight of each image token, averaged over heads and text tokens."""
    return weights.double().mean((0, 1))


def measure_sparsity(observations: Iterable[Observation]) -> Sparsity | None:
    """Return how sparse the attention of posts is; None without any.

    Posts without an image, whose weights are all 0, do not count.
    """
    ordered, zeros = [], []
    for seen in observations:
        if seen.weights is not None and bool(seen.weights.any()):
            descending = seen.weights.double().sort(-1, descending=True).values
            ordered.append(descending.mean((0, 1)))
            zeros.append(float((seen.weights == 0).double().mean()))
    if not ordered:
        return None
    return Sparsity(torch.stack(ordered).numpy(), float(np.mean(zeros)))


def each_normalizer(model: MvcnForClassification) -> Iterator[Normalizer]:
    """Yield each normalizer, the model's own first, while the last text-guided unit uses it.

    The scores that it normalizes stay the same. Networks without such units yield nothing.
    """
    fusion = getattr(model.network, "fusion", None)
    if not isinstance(fusion, TextGuidedFusion):
        return
    attention = fusion.units[-1].image_attention
    assert isinstance(attention, MultiHeadAttention)  # as `TextGuidedUnit` builds it
    own: Normalizer = attention.normalizer
    names: list[Normalizer] = sorted(get_args(Normalizer), key=lambda name: name != own)
    try:
        for name in names:
            attention.normalizer = name
            yield name
    finally:
        attention.normalizer = own


def _observation(
    output: MvcnOutput,
    position: int,
    is_real: Bool[Tensor, " token"],
    row: Float[np.ndarray, " classes"],
) -> Observation:
    attentions, shares = output.fusion_attentions, output.token_weights
    assert output.fused_feature is not None  # every network returns it
    return Observation(
        None if attentions is None else attentions[-1][position][:, is_real],
        None if shares is None else shares[position, is_real],
        output.fused_feature[position].clone(),
        row,
    )
