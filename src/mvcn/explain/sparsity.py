"""How sparsely a model's text looks at images: by its own normalizer, and by the other."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import get_args

import numpy as np
import torch
from jaxtyping import Float

from mvcn.explain.observation import Observation
from mvcn.models.classification import MvcnForClassification
from mvcn.nn.attention import MultiHeadAttention, Normalizer
from mvcn.nn.fusion import TextGuidedFusion


@dataclass(frozen=True, slots=True)
class Sparsity:
    """Text-to-image attention weights of posts, whichever image tokens they lie on."""

    weights: Float[np.ndarray, "post patch"]
    """Of each post the largest weight, the second, and so on; means over heads and text tokens."""
    zeros: float
    """Share of the weights that are exactly 0, mean over posts."""


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
