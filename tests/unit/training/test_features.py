"""Features are mean tokens of what a post has, from the encoders that the model has."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mvcn.inputs.batches import PostEncoder
from mvcn.inputs.processor import build_processor
from mvcn.models.build import build_model
from mvcn.runtime.images import ImagePixels
from mvcn.training.features import pooled_features

CLASSES = ("negative", "neutral", "positive")


@pytest.fixture
def read(tiny_config):
    """Return a function from posts and a network to the model and the posts as it reads them."""

    def read(posts, network="mvcn"):
        config = tiny_config(model={"network": network}).model
        torch.manual_seed(0)
        model, processor = build_model(config, CLASSES), build_processor(config)
        images = None if model.image_encoder is None else ImagePixels(processor, keep=True)
        encoder = PostEncoder(processor, images, model.reads)
        return model, encoder.encode(posts, class_names=CLASSES)

    return read


def test_features_do_not_depend_on_who_shares_a_batch(read, generated_posts):
    model, encoded = read(generated_posts)
    model.train()
    found = pooled_features(model, encoded, range(48))
    assert found.text.shape == (48, 3 * 32)  # word embeddings and two layers
    assert found.image.shape == (48, 32)
    assert found.both.shape == (48, 4 * 32)
    few = pooled_features(model, encoded, [7, 5])
    np.testing.assert_allclose(few.both, found.both[[7, 5]], atol=1e-5)
    assert found.both.std(axis=0).min() > 0
    assert model.training


def test_what_a_post_or_a_model_does_not_have_is_zero_or_absent(read, generated_posts):
    posts = [replace(generated_posts[0], image=None), replace(generated_posts[1], text="")]
    found = pooled_features(*read(posts), range(2))
    assert not found.image[0].any()
    assert found.image[1].any()
    assert found.text[0].any()
    assert not found.text[1].any()
    found = pooled_features(*read(generated_posts[:2], "bert"), range(2))
    assert found.text.shape == (2, 96)
    assert found.image.shape == (2, 0)
