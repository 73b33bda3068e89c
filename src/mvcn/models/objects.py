"""The objects that an image encoder was published to name, by its own classification layer."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModelForImageClassification, PreTrainedModel

from mvcn.encoders.images import image_tokens, some_image
from mvcn.encoders.loading import (
    EFFICIENTNET_LITE0,
    PACKAGED,
    load_image_encoder,
    load_pretrained,
    packaged_folder,
)
from mvcn.errors import ConfigError
from mvcn.nn.pooling import masked_mean

Pooling = Literal["first", "mean", "patches", "first and patches"]
POOLINGS: tuple[Pooling, ...] = ("first", "mean", "patches", "first and patches")
"""What a classifier reads of tokens: the first, the mean of all, that of those which are patches,
or the first and the mean of patches next to each other."""
TOLERANCE = 1e-4
"""Of the logits of random pixels, by which the way to read tokens is recognised."""


@dataclass(frozen=True, slots=True)
class ObjectClassifier:
    """The output layer of a published image classifier: object scores from an encoder's tokens."""

    layer: nn.Linear
    names: tuple[str, ...]
    """Name of each object."""
    pooling: Pooling = "mean"
    leading: int = 0
    """Number of tokens before the patches."""
    norm: nn.LayerNorm | None = None
    """Normalises what is pooled."""

    @classmethod
    def load(cls, name: str) -> "ObjectClassifier":
        """Return the published classifier of an image encoder.

        How it reads tokens is found by trying: its logits must come out.

        Raises:
            ConfigError: The encoder was published without one, class names are not installed, or
                it reads the tokens in another way.
        """
        if name == EFFICIENTNET_LITE0:
            return _lite0_classifier()
        model = load_pretrained(AutoModelForImageClassification, name, "image classifier").eval()
        names = tuple(model.config.id2label[index] for index in range(model.config.num_labels))
        parts = (one for one in model.children() if isinstance(one, PreTrainedModel))
        encoder = next(parts, None)
        if encoder is None:  # of timm, whose classifier has none
            encoder = load_image_encoder(name)
        found = next(_matching(model, encoder, names), None)
        if found is None:
            raise ConfigError(
                f"The object classifier of '{name}' is not supported: choose another image encoder "
                "with --set model.image_encoder=NAME, or a model that needs no objects."
            )
        return found


def pool(
    image: Float[Tensor, "batch patch dim"],
    mask: Bool[Tensor, "batch patch"],
    pooling: Pooling,
    leading: int,
) -> Float[Tensor, "batch pooled"]:
    """Return what a classifier reads of image tokens.

    Args:
        image: Tokens.
        mask: False for a token that is not there.
        pooling: One of `POOLINGS`.
        leading: Number of tokens before the patches.
    """
    if pooling == "mean":
        return masked_mean(image, mask)
    if pooling == "first":
        return image[:, 0]
    patches = masked_mean(image[:, leading:], mask[:, leading:])
    return patches if pooling == "patches" else torch.cat([image[:, 0], patches], -1)


@torch.no_grad()
def _matching(
    model: PreTrainedModel, encoder: PreTrainedModel, names: tuple[str, ...]
) -> Iterator[ObjectClassifier]:
    """Yield the ways to read an encoder's tokens that give the logits of random pixels."""
    pixels = some_image(encoder.config)
    tokens = image_tokens(encoder, pixels)
    expected, mask = model(pixel_values=pixels).logits, tokens.new_ones(tokens.shape[:2]).bool()
    scale = expected.abs().max().clamp(min=1)
    for candidate in _candidates(model, names):
        pooled = pool(tokens, mask, candidate.pooling, candidate.leading)
        fits = pooled.shape[-1] == candidate.layer.in_features
        norm = candidate.norm
        if fits and (norm is None or norm.normalized_shape == pooled.shape[-1:]):
            if norm is not None:  # not by its own class, which may take feature maps alone
                pooled = F.layer_norm(pooled, pooled.shape[-1:], norm.weight, norm.bias, norm.eps)
            found = candidate.layer(pooled)
            if (found - expected).abs().max() < TOLERANCE * scale:
                yield candidate


def _candidates(model: PreTrainedModel, names: tuple[str, ...]) -> Iterator[ObjectClassifier]:
    linear = [one for one in model.modules() if isinstance(one, nn.Linear)]
    layers = [one for one in linear if one.out_features == len(names)]
    norms = [one for one in model.modules() if isinstance(one, nn.LayerNorm)]
    for pooling in POOLINGS:
        for leading in _leading(model) if "patches" in pooling else [0]:
            for norm in [None, *reversed(norms)]:
                for layer in layers[-1:]:
                    yield ObjectClassifier(layer, names, pooling, leading, norm)


def _leading(model: PreTrainedModel) -> tuple[int, ...]:
    """Return how many tokens may come before the patches: one of the class, and registers."""
    stated = getattr(getattr(model, "timm_model", None), "num_prefix_tokens", 1)
    return 1, 1 + getattr(model.config, "num_register_tokens", 0), 2, stated


def _lite0_classifier() -> ObjectClassifier:
    (names_file,) = PACKAGED["imagenet-names"].sha256
    names = json.loads((packaged_folder("imagenet-names") / names_file).read_text("utf-8"))
    (file,) = PACKAGED[EFFICIENTNET_LITE0].sha256
    published = torch.load(packaged_folder(EFFICIENTNET_LITE0) / file, weights_only=True)
    layer = nn.Linear(*reversed(published["_fc.weight"].shape))
    layer.load_state_dict({"weight": published["_fc.weight"], "bias": published["_fc.bias"]})
    return ObjectClassifier(layer, tuple(names))


def arguments_of(classifier: ObjectClassifier) -> dict[str, Any]:
    """Return how a classifier reads tokens, as arguments of `ImageAttributes`."""
    norm = classifier.norm
    return {
        "num_objects": classifier.layer.out_features,
        "pooled_width": classifier.layer.in_features,
        "pooling": classifier.pooling,
        "leading": classifier.leading,
        "norm_eps": None if norm is None else norm.eps,
    }
