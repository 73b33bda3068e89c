"""The explanation of a model's prediction for one post."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mvcn.data.text import has_text
from mvcn.explain.observation import Observation, Space, each_normalizer, observe
from mvcn.explain.saliency import Method, image_saliency, word_saliency
from mvcn.inputs.batches import EncodedPosts
from mvcn.inputs.processor import MvcnProcessor
from mvcn.models.classification import MvcnForClassification
from mvcn.nn.attention import Normalizer
from mvcn.types import Post

NEIGHBOURS = 5


@dataclass(frozen=True, slots=True)
class Word:
    """A word of the post's text."""

    text: str
    saliency: float
    """By how much the log-probability of the predicted class falls without it."""
    share: float | None
    """Of the fused feature; None from networks without shares."""
    attention: Float[Tensor, " patch"] | None
    """Weights over the image tokens, mean over heads and word pieces; None without any."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A training post that is near in the space of fused features."""

    post: Post
    distance: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """A model's prediction for one post, and what it depends on."""

    post: Post
    probabilities: Mapping[str, float]
    words: Sequence[Word]
    saliency: Float[Tensor, " patch"] | None
    """Of the image tokens, by `method`; None without an image."""
    method: Method
    attention: Mapping[Normalizer, Float[Tensor, " patch"]]
    """Weights of the last unit, mean over heads and text tokens: as the model has them, and as
    another normalizer would make them of the same scores. Empty without an image, and for
    networks without text-guided units."""
    distances: Mapping[str, float]
    """Class name -> distance of the fused feature to its centroid; empty without a space."""
    neighbours: Sequence[Neighbour]

    @property
    def predicted(self) -> str:
        """The most probable class."""
        return max(self.probabilities, key=self.probabilities.__getitem__)

    def to_mapping(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "id": self.post.id,
            "label": self.post.label,
            "predicted": self.predicted,
            "probabilities": dict(self.probabilities),
            "words": [
                {"text": word.text, "saliency": word.saliency, "share": word.share}
                for word in self.words
            ],
            "method": self.method,
            "image": None if self.saliency is None else self.saliency.tolist(),
            "attention": {name: weights.tolist() for name, weights in self.attention.items()},
            "distances": dict(self.distances),
            "neighbours": [
                {"id": near.post.id, "label": near.post.label, "distance": near.distance}
                for near in self.neighbours
            ],
        }


def explain(
    model: MvcnForClassification,
    processor: MvcnProcessor,
    posts: EncodedPosts,
    method: Method,
    space: Space | None = None,
    train_posts: Sequence[Post] = (),
) -> Iterator[Explanation]:
    """Yield the explanation of each post, in order.

    Args:
        model: Any classifier.
        processor: The model's own.
        posts: To be explained; labels are only repeated.
        method: How the image tokens' saliency is found; see `image_saliency`.
        space: Fused features of the training posts, for distances and neighbours.
        train_posts: The posts of the space, in its order.

    Raises:
        ConfigError: The model does not allow the method.
    """
    for position, seen in enumerate(observe(model, posts)):
        post, inputs = posts.posts[position], _encoded(model, posts.inputs([position]))
        has_image = post.image is not None and model.image_encoder is not None
        feature = seen.feature.double().numpy()
        near = [] if space is None else space.nearest(feature, NEIGHBOURS + 1)
        yield Explanation(
            post,
            dict(zip(model.class_names, seen.probabilities.tolist(), strict=True)),
            _words(model, processor, post, inputs, seen),
            image_saliency(model, inputs, method) if has_image else None,
            method,
            _attentions(model, inputs) if has_image else {},
            {} if space is None else space.distances(feature),
            [
                Neighbour(train_posts[i], math.dist(space.features[i], feature))
                for i in near
                if space is not None and train_posts[i].id != post.id
            ][:NEIGHBOURS],
        )


def _encoded(model: MvcnForClassification, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return inputs whose images went through the encoder once, for all that is left out later."""
    if model.image_encoder is None or "pixel_values" not in inputs:
        return inputs
    rest = {name: value for name, value in inputs.items() if name != "pixel_values"}
    with torch.no_grad():  # a gradient is taken of them
        return {**rest, "image_features": model.encode_images(inputs["pixel_values"])}


def _words(
    model: MvcnForClassification,
    processor: MvcnProcessor,
    post: Post,
    inputs: dict[str, Tensor],
    seen: Observation,
) -> list[Word]:
    if model.text_encoder is None or not has_text(post.text):
        return []
    found = processor.words(post.text)
    saliencies = word_saliency(model, inputs, [pieces for _, pieces in found]).tolist()
    shares, weights = seen.token_weights, seen.weights if post.image is not None else None
    return [
        Word(
            text,
            saliency,
            None if shares is None else float(shares[pieces].sum()),
            None if weights is None else weights[:, pieces].mean((0, 1)),
        )
        for (text, pieces), saliency in zip(found, saliencies, strict=True)
    ]


def _attentions(
    model: MvcnForClassification, inputs: dict[str, Tensor]
) -> dict[Normalizer, Float[Tensor, " patch"]]:
    return {name: image_saliency(model, inputs, "attention") for name in each_normalizer(model)}
