"""Frozen features of posts, from the packaged encoders."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from mvcn.config import ModelConfig
from mvcn.encoders.tokens import freeze
from mvcn.inputs import build_processor
from mvcn.inputs.batches import PostEncoder
from mvcn.models import build_model
from mvcn.training.teacher import pooled_features
from mvcn.types import ImageFacts, Post


def post_features(
    posts: Sequence[Post], facts: Sequence[ImageFacts | None]
) -> Float[np.ndarray, "posts dim"]:
    """Return text and image features side by side; zeros for what a post lacks.

    Images come from the cache that training with a frozen image encoder fills and reads.

    Args:
        posts: Posts.
        facts: What is known of each post's image; bad ones count as lacking.
    """
    config = ModelConfig()
    model, processor = build_model(config, ("unused", "classes")), build_processor(config)
    freeze(model)
    shown = [
        post if fact is not None and fact.problem is None else replace(post, image=None)
        for post, fact in zip(posts, facts, strict=True)
    ]
    encoded = PostEncoder.for_model(model, processor).encode(shown, "blank")
    found = pooled_features(model, encoded, range(len(encoded)))
    features = np.zeros((len(posts), found.shape[1]), found.dtype)
    features[list(encoded.positions)] = found
    return features
