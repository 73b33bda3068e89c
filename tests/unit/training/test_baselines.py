"""Baselines predict the posts that a model is evaluated on, from what these posts have."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mvcn.errors import DataError
from mvcn.evaluation.baselines import MAJORITY, compare_with_baselines
from mvcn.inputs.batches import PostEncoder
from mvcn.inputs.processor import build_processor
from mvcn.models.build import build_model
from mvcn.runtime.images import ImagePixels
from mvcn.training import baselines
from mvcn.training.baselines import fit_baselines
from mvcn.training.features import pooled_features
from mvcn.training.linear import cross_validate, predict_out_of_fold
from mvcn.training.members import assign_folds

CLASSES = ("negative", "neutral", "positive")

pytestmark = pytest.mark.usefixtures("all_penalties")


@pytest.fixture
def read(tiny_config):
    config = tiny_config().model
    torch.manual_seed(0)
    model, processor = build_model(config, CLASSES), build_processor(config)
    encoder = PostEncoder(processor, ImagePixels(processor), model.reads)
    return model, lambda posts: encoder.encode(posts, class_names=CLASSES)


def test_posts_out_of_fold_are_predicted_by_models_of_the_other_folds(read, generated_posts):
    model, encode = read
    train, none = encode(generated_posts), encode([])
    folds = assign_folds(train, 3, 0)
    found = fit_baselines(model, train, none, folds, 0)
    assert list(found.probabilities) == [MAJORITY, "text", "image", "both"]
    assert found.positions.tolist() == list(range(48))
    features = pooled_features(model, train, range(48))
    for name, one in (("text", features.text), ("both", features.both)):
        expected = predict_out_of_fold(one, train.labels, folds, 3)
        np.testing.assert_array_equal(found.probabilities[name], expected)
    shares = np.bincount(train.labels, minlength=3) / 48
    np.testing.assert_array_equal(found.probabilities[MAJORITY], np.tile(shares, (48, 1)))
    assert found.curve.posts == [8, 16, 32]
    right = found.probabilities["both"].argmax(1) == train.labels
    by_fold = [right[folds == fold].mean() for fold in range(3)]
    np.testing.assert_allclose(found.curve.accuracy[:, -1], by_fold)


def test_without_folds_the_dev_posts_are_predicted(read, generated_posts):
    model, encode = read
    train, dev = encode(generated_posts[:36]), encode(generated_posts[36:])
    found = fit_baselines(model, train, dev, None, 0)
    assert found.positions.tolist() == list(range(12))
    assert found.curve is None
    features, seen = (pooled_features(model, one, range(len(one))).text for one in (train, dev))
    folds = assign_folds(train, 5, 0)
    expected = cross_validate(features, train.labels, folds, 3).model.probabilities(seen)
    np.testing.assert_array_equal(found.probabilities["text"], expected)


@pytest.mark.parametrize(("missing", "left"), [("image", "text"), ("text", "image")])
def test_what_no_post_has_is_no_baseline(read, generated_posts, missing, left):
    model, encode = read
    nothing = {"image": None, "text": ""}[missing]
    posts = encode([replace(post, **{missing: nothing}) for post in generated_posts])
    found = fit_baselines(model, posts, posts, None, 0)
    assert list(found.probabilities) == [MAJORITY, left]


def test_of_many_posts_some_are_used(read, generated_posts, monkeypatch):
    monkeypatch.setattr(baselines, "MOST_POSTS", 20)
    model, encode = read
    posts = encode(generated_posts)
    folds = assign_folds(posts, 3, 0)
    found = fit_baselines(model, posts, posts, folds, 0)
    assert found.train_posts == len(found.positions) == 20
    assert sorted(found.positions) == found.positions.tolist()
    assert {len(one) for one in found.probabilities.values()} == {20}
    assert found.curve is None


def test_posts_that_are_too_few_or_too_alike_for_folds_do_not_stop_it(read, generated_posts):
    model, encode = read
    few = list({post.label: post for post in generated_posts}.values())
    words = "the same words in each of the posts"
    alike = [replace(post, text=words, image=None) for post in generated_posts]
    for given, linear in ((few, ["text", "image", "both"]), (alike, ["text"])):
        posts = encode(given)
        found = fit_baselines(model, posts, posts, None, 0)
        assert list(found.probabilities) == [MAJORITY, *linear]
        with pytest.raises(DataError, match="too few or too alike"):
            assign_folds(posts, 3, 0)


@pytest.mark.parametrize(("is_shuffled", "start"), [(True, "Not measurably"), (False, "Better")])
def test_shuffled_labels_are_not_learned_and_a_separable_task_is(is_shuffled, start):
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [20, 30, 50])
    features = (generator.normal(size=(100, 8)) + 4 * np.eye(3, 8)[labels]).astype(np.float32)
    if is_shuffled:
        labels = generator.permutation(labels)
    folds = generator.permutation(np.arange(100) % 5)
    found = predict_out_of_fold(features, labels, folds, 3)
    majority = np.tile([0.2, 0.3, 0.5], (100, 1))
    comparison = compare_with_baselines(found, {MAJORITY: majority}, labels, CLASSES)
    assert comparison.conclusion()[0].startswith(f"{start} ")
