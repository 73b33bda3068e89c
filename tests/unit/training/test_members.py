"""Folds of members: near-duplicates stay together, and every kind of posts has folds."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mvcn.errors import DataError
from mvcn.inputs.batches import PostEncoder
from mvcn.inputs.processor import build_processor
from mvcn.model_config import ModelConfig
from mvcn.models.build import build_model
from mvcn.training.members import assign_folds

NAMES = ("negative", "neutral", "positive")
MEMBERS = 4


@pytest.fixture
def folds_of(tiny_settings):
    def folds_of(posts):
        torch.manual_seed(0)
        config = ModelConfig(**tiny_settings)
        encoder = PostEncoder.for_model(build_model(config, NAMES), build_processor(config))
        return assign_folds(encoder.encode(posts, "blank", NAMES), MEMBERS, 0)

    return folds_of


def test_folds_have_the_classes_in_equal_shares(folds_of, generated_posts):
    folds = folds_of(generated_posts)
    labels = np.array([NAMES.index(post.label) for post in generated_posts])
    counts = np.array([np.bincount(labels[folds == fold], minlength=3) for fold in range(MEMBERS)])
    assert (np.ptp(counts, axis=0) <= 2).all()


def test_copies_of_a_text_or_an_image_are_in_one_fold(folds_of, generated_posts):
    posts = [*generated_posts, *(replace(post, id=f"{post.id}+") for post in generated_posts)]
    count = len(generated_posts)
    text, image = (
        folds_of(
            [
                replace(post, **({field: other} if i >= count else {}))
                for i, post in enumerate(posts)
            ]
        )
        for field, other in (("image", None), ("text", ""))
    )
    for folds in (text, image):
        assert (folds[:count] == folds[count:]).all()


def test_a_caption_of_all_posts_leaves_their_images_in_folds(folds_of, generated_posts):
    folds = folds_of([replace(post, text="photo") for post in generated_posts])
    assert len(set(folds)) == MEMBERS


def test_posts_of_one_text_are_too_alike(folds_of, generated_posts):
    with pytest.raises(DataError, match="too few or too alike"):
        folds_of([replace(post, text="photo", image=None) for post in generated_posts])
