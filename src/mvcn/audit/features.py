"""Frozen features of posts, from the packaged encoders: means over word pieces and patches."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from tqdm import tqdm

from mvcn.config import ModelConfig
from mvcn.encoders.feature_cache import default_cache_root
from mvcn.encoders.tokens import freeze, text_tokens, token_width
from mvcn.models import MvcnForClassification, MvcnProcessor, build_model, build_processor
from mvcn.models.images import ImageFeatures
from mvcn.types import ImageFacts, Post

TEXT_BATCH = 64


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
    texts = _text_features(model, processor, [post.text for post in posts])
    images = _image_features(model, processor, posts, facts)
    return np.concatenate([texts, images], axis=1)


@torch.no_grad()
def _text_features(
    model: MvcnForClassification, processor: MvcnProcessor, texts: Sequence[str]
) -> Float[np.ndarray, "posts dim"]:
    """Return the mean over each text's word pieces; texts of like length share a batch."""
    encoder = model.text_encoder
    features = np.zeros((len(texts), token_width(encoder.config)), dtype=np.float32)
    ids = processor.tokenize(texts)
    order = sorted((i for i, text in enumerate(texts) if text.strip()), key=lambda i: len(ids[i]))
    for start in tqdm(range(0, len(order), TEXT_BATCH), desc="Text features", unit="batch"):
        rows = order[start : start + TEXT_BATCH]
        batch = processor.pad([ids[i] for i in rows])
        tokens = text_tokens(encoder, batch["input_ids"], batch["attention_mask"])
        mask = batch["attention_mask"].unsqueeze(-1).to(tokens.dtype)
        features[rows] = ((tokens * mask).sum(1) / mask.sum(1)).numpy()
    return features


def _image_features(
    model: MvcnForClassification,
    processor: MvcnProcessor,
    posts: Sequence[Post],
    facts: Sequence[ImageFacts | None],
) -> Float[np.ndarray, "posts dim"]:
    features = np.zeros((len(posts), token_width(model.image_encoder.config)), dtype=np.float32)
    inputs = ImageFeatures(model, processor, default_cache_root())
    good = [i for i, fact in enumerate(facts) if fact is not None and fact.problem is None]
    bad = inputs.prepare(posts[i] for i in good)
    for i in good:
        image = posts[i].image
        if image is not None and posts[i].id not in bad:
            features[i] = inputs[image].mean(0).numpy()
    return features
