"""Linear networks are what scikit-learn fits on the mean tokens of frozen encoders."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mvcn.inputs.batches import PostEncoder
from mvcn.inputs.processor import build_processor
from mvcn.model_config import ModelConfig
from mvcn.models.build import build_model
from mvcn.training.features import pooled_features
from mvcn.training.linear import INVERSE_PENALTIES, predict_out_of_fold
from mvcn.training.linear_networks import fit_linear_network
from mvcn.training.members import assign_folds

NAMES = ("negative", "neutral", "positive")

pytestmark = pytest.mark.usefixtures("all_penalties")


@pytest.fixture
def build(tiny_settings):
    def build(network, posts):
        torch.manual_seed(0)
        config = ModelConfig(
            **tiny_settings, network=network, frozen_text_layers="all", lower_text_layers=1
        )
        model = build_model(config, NAMES)
        encoder = PostEncoder.for_model(model, build_processor(config))
        return model.eval(), encoder.encode(posts, "blank", NAMES)

    return build


def scores(model, posts):
    with torch.inference_mode():
        return model(**posts.inputs(range(len(posts)))).logits.softmax(-1).numpy()


def peers(features, labels):
    """Return the probabilities of scikit-learn for each penalty, one of which is chosen."""
    for penalty in INVERSE_PENALTIES:
        peer = make_pipeline(StandardScaler(), LogisticRegression(C=penalty, max_iter=300))
        yield peer.fit(features, labels).predict_log_proba(features)


def test_logreg_is_that_of_scikit_learn(build, generated_posts):
    model, posts = build("logreg", generated_posts)
    fit_linear_network(model, posts, assign_folds(posts, 5, 0))
    features = pooled_features(model, posts, range(len(posts)), 2).both
    found = scores(model, posts)
    errors = [abs(np.exp(one) - found).max() for one in peers(features, posts.labels)]
    assert min(errors) < 1e-3


def test_late_fusion_averages_one_of_each_input_on_the_posts_that_have_it(build, generated_posts):
    model, posts = build("late-fusion", generated_posts)
    fit_linear_network(model, posts, assign_folds(posts, 5, 0))
    pooled, found = pooled_features(model, posts, range(len(posts)), 2), scores(model, posts)
    assert (posts.present["text"] & posts.present["image"]).all()
    texts, images = ([*peers(getattr(pooled, one), posts.labels)] for one in ("text", "image"))
    averaged = [np.exp((text + image) / 2) for text in texts for image in images]
    errors = [abs(one / one.sum(1, keepdims=True) - found).max() for one in averaged]
    assert min(errors) < 1e-3


def test_out_of_fold_logits_are_of_models_that_have_not_seen_the_post(build, generated_posts):
    model, posts = build("logreg", generated_posts)
    folds = assign_folds(posts, 5, 0)
    logits = fit_linear_network(model, posts, folds)
    features = pooled_features(model, posts, range(len(posts)), 2).both
    expected = predict_out_of_fold(features, posts.labels, folds, 3)
    np.testing.assert_allclose(np.exp(logits), expected, atol=1e-6)


def test_a_classifier_without_posts_says_nothing(build, generated_posts):
    posts = [replace(post, image=None) for post in generated_posts]
    model, encoded = build("late-fusion", posts)
    assert fit_linear_network(model, encoded, assign_folds(encoded, 5, 0)) is not None
    assert not model.network.classifiers["image"].weight.any()
    assert model.network.classifiers["text"].weight.any()


def test_one_fold_gives_no_held_out_logits(build, generated_posts):
    model, posts = build("logreg", generated_posts)
    assert fit_linear_network(model, posts, np.zeros(len(posts), np.int64)) is None
    assert model.network.classifiers["both"].weight.any()
