"""What a model does with posts: attention, fused features, probabilities."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mvcn.inputs.batches import EncodedPosts
from mvcn.models.classification import MvcnForClassification
from mvcn.models.network import MvcnOutput, probabilities

BATCH_SIZE = 50


@dataclass(frozen=True, slots=True)
class Observation:
    """What a model did with one post."""

    weights: Float[Tensor, "head token patch"] | None
    """Text-to-image attention of the last text-guided unit, padding removed; None without one."""
    token_weights: Float[Tensor, " token"] | None
    """Share of each text token in the fused feature; None from networks that do not tell."""
    feature: Float[Tensor, " dim"]
    """z of the paper."""
    probabilities: Float[np.ndarray, " classes"]
    """Calibrated."""


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


def mean_attention(
    weights: Float[Tensor, "head token patch"], text_mask: Bool[Tensor, " token"] | None = None
) -> Float[Tensor, " patch"]:
    """Return the weight of each image token, averaged over heads and real text tokens."""
    real = weights if text_mask is None else weights[:, text_mask]
    return real.double().mean((0, 1))


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
