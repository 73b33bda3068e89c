"""Explanation of the prediction for one post: words, image, attention, nearest posts."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mvcn.data.text import has_text
from mvcn.explain.observation import Observation, Space, each_normalizer, observe
from mvcn.explain.saliency import image_saliency, word_saliency
from mvcn.inputs.batches import EncodedPosts
from mvcn.models.classification import MvcnForClassification
from mvcn.models.ensemble import answering_alone
from mvcn.nn.attention import Normalizer
from mvcn.runtime.processing import PostProcessing
from mvcn.types import Post, SaliencyMethod

NEIGHBOURS = 5
SMALL_DECREASE = 0.05
"""Of a log-probability: the probability falls by a twentieth of itself. Words of which none does
more are shown as such."""
SMALL_DECREASE_OF_CELL = 0.01
"""The same for one image token of 49 or more, which has less to say than a word."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word of the post's text."""

    text: str
    saliency: float
    """Decrease of the log-probability of the predicted class without it."""
    share: float | None
    """Of the fused feature; None from networks without shares."""
    attention: Float[Tensor, " patch"] | None
    """Weights over the image tokens, mean over heads and word pieces; None without attention."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A training post that is close in the space of fused features."""

    post: Post
    distance: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """The prediction for one post, and what it depends on."""

    post: Post
    probabilities: Mapping[str, float]
    words: Sequence[Word]
    saliency: Float[Tensor, " patch"] | None
    """Of the image tokens, by `method`; None without an image."""
    method: SaliencyMethod
    attention: Mapping[Normalizer, Float[Tensor, " patch"]]
    """Normalizer -> weights of the last unit, mean over heads and text tokens: the model's own, and
    those of the other normalizer for the same scores. Empty without an image or text-guided
    units."""
    distances: Mapping[str, float]
    """Class name -> distance of the fused feature to the class centroid; empty without a space."""
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
    processor: PostProcessing,
    posts: EncodedPosts,
    method: SaliencyMethod,
    space: Space | None = None,
    train_posts: Sequence[Post] = (),
    members: Sequence[int | None] | None = None,
) -> Iterator[Explanation]:
    """Yield the explanation of each post, in order.

    Args:
        model: Any classifier.
        processor: The processor of the model.
        posts: The posts; labels are only copied.
        method: SaliencyMethod of the saliency of image tokens; see `image_saliency`.
        space: Fused features of the training posts, for distances and neighbours.
        train_posts: The posts of the space, in the same order.
        members: For each post the member of an ensemble that is explained, such as the one that was
            not trained on it; None for all together.

    Raises:
        ConfigError: The model does not support the method.
    """
    for position, member in enumerate(members or [None] * len(posts)):
        with answering_alone(model.network, member):
            one = posts.select([position])
            found = _explain(model, processor, one, method, space, train_posts)
        yield found


def _explain(
    model: MvcnForClassification,
    processor: PostProcessing,
    one: EncodedPosts,
    method: SaliencyMethod,
    space: Space | None,
    train_posts: Sequence[Post],
) -> Explanation:
    (post,), (seen,) = one.posts, observe(model, one)
    feature = seen.feature.double().numpy()
    inputs = _encoded(model, one.inputs([0]))
    has_image = post.image is not None and model.image_encoder is not None
    return Explanation(
        post,
        dict(zip(model.class_names, seen.probabilities.tolist(), strict=True)),
        _words(model, processor, post, inputs, seen),
        image_saliency(model, inputs, method) if has_image else None,
        method,
        _attentions(model, inputs) if has_image else {},
        {} if space is None else space.distances(feature),
        [] if space is None else _neighbours(space, feature, train_posts, post.id),
    )


def _neighbours(
    space: Space, feature: Float[np.ndarray, " dim"], posts: Sequence[Post], post_id: str
) -> list[Neighbour]:
    """Return the nearest posts of the space, except the explained post."""
    nearest = [i for i in space.nearest(feature, NEIGHBOURS + 1) if posts[i].id != post_id]
    return [
        Neighbour(posts[i], math.dist(space.features[i], feature)) for i in nearest[:NEIGHBOURS]
    ]


def _encoded(model: MvcnForClassification, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return inputs with encoded images, which are encoded only once."""
    if model.image_encoder is None or "pixel_values" not in inputs:
        return inputs
    rest = {name: value for name, value in inputs.items() if name != "pixel_values"}
    with torch.no_grad():  # not inference_mode: gradients are computed with respect to them
        return {**rest, "image_features": model.encode_images(inputs["pixel_values"])}


def _words(
    model: MvcnForClassification,
    processor: PostProcessing,
    post: Post,
    inputs: dict[str, Tensor],
    seen: Observation,
) -> list[Word]:
    if model.text_encoder is None or not has_text(post.text):
        return []
    found = processor.words(processor.text_of(post))
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
