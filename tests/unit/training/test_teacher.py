"""The teacher says of each post what posts other than it and its near-duplicates suggest."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from mvcn.inputs.batches import PostEncoder
from mvcn.inputs.processor import build_processor
from mvcn.models.build import build_model
from mvcn.runtime.images import ImagePixels
from mvcn.training.teacher import (
    FOLDS,
    OutOfFoldTeacher,
    add_teacher_targets,
    out_of_fold_probabilities,
)

CLASSES = ("negative", "neutral", "positive")


def draw(count=60):
    generator = np.random.default_rng(0)
    labels = np.arange(count) % 3
    features = generator.normal(size=(count, 4)) + 3 * np.eye(3, 4)[labels]
    return features.astype(np.float32), labels


def test_each_fold_is_predicted_by_a_logistic_regression_on_the_others():
    features, labels = draw()
    groups = [i // 2 for i in range(60)]
    actual = out_of_fold_probabilities(features, labels, groups, 3)
    np.testing.assert_allclose(actual.sum(axis=1), 1)
    # A fold is what changes together with the label of one of its posts: nothing of its own.
    for fold in _folds(features, labels, groups, actual):
        seen = np.setdiff1d(np.arange(60), fold)
        assert {groups[i] for i in seen}.isdisjoint(groups[i] for i in fold)
        scaler = StandardScaler().fit(features[seen])
        model = LogisticRegression(C=1e-3, max_iter=300).fit(
            scaler.transform(features[seen]), labels[seen]
        )
        expected = model.predict_proba(scaler.transform(features[fold]))
        np.testing.assert_allclose(actual[fold], expected, atol=1e-5)


def _folds(features, labels, groups, before):
    """Return the posts of each fold: those whose probabilities do not hang on a post's label."""
    folds, left = [], set(range(len(labels)))
    while left:
        changed = labels.copy()
        changed[min(left)] = (changed[min(left)] + 1) % 3
        after = out_of_fold_probabilities(features, changed, groups, 3)
        folds.append([i for i in range(len(labels)) if (after[i] == before[i]).all()])
        left -= set(folds[-1])
    assert len(folds) == FOLDS
    assert sorted(i for fold in folds for i in fold) == list(range(len(labels)))
    return folds


def test_what_no_classifier_can_say_are_the_shares_of_the_classes():
    features, _ = draw(6)
    alone = out_of_fold_probabilities(features, np.array([1, 1, 1, 1, 1, 1]), range(6), 3)
    np.testing.assert_array_equal(alone, np.tile([0, 1, 0], (6, 1)))
    labels = np.array([0, 0, 0, 1, 1, 2])
    one_group = out_of_fold_probabilities(features, labels, [0] * 6, 3)
    np.testing.assert_array_equal(one_group, np.tile([1 / 2, 1 / 3, 1 / 6], (6, 1)))


@pytest.fixture
def reading(tiny_config, generated_posts):
    """Return a model with a unimodal-label head, the posts as it reads them, and their encoder."""
    config = tiny_config(model={"frozen_text_layers": 1})
    torch.manual_seed(0)
    model = build_model(config.model, CLASSES, unimodal_label_head=True)
    processor = build_processor(config.model)
    encoder = PostEncoder(processor, ImagePixels(processor, keep=True))
    encoded = encoder.encode(generated_posts, class_names=CLASSES)
    model.unimodal_label_head.merge_table.copy_(encoded.merge_table(3))
    return model, encoded, encoder


def test_posts_are_given_pairs_and_what_the_merge_rule_makes_of_them(reading):
    model, encoded, _ = reading
    add_teacher_targets(encoded, model, seed=0)
    batch = encoded.collate([*encoded])
    pairs, merged = batch["teacher_pairs"], batch["teacher"]
    torch.testing.assert_close(pairs.sum((1, 2)), torch.ones(len(pairs)))
    table = model.unimodal_label_head.merge_table
    rule = table / table.sum(-1, keepdim=True).clamp(min=1e-12)
    expected = torch.einsum("nab,abk->nk", pairs, rule)
    expected /= expected.sum(-1, keepdim=True)
    torch.testing.assert_close(merged, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("missing", ["head", "label"])
def test_without_pairs_only_the_label_gets_targets(reading, generated_posts, missing):
    model, encoded, encoder = reading
    posts = list(generated_posts)
    if missing == "head":
        model.network.unimodal_label_head = None
    else:
        posts[3] = replace(posts[3], image_label=None)
        encoded = encoder.encode(posts, class_names=CLASSES)
    add_teacher_targets(encoded, model, seed=0)
    batch = encoded.collate([*encoded])
    assert "teacher_pairs" not in batch
    torch.testing.assert_close(batch["teacher"].sum(-1), torch.ones(len(posts)))


def test_of_many_posts_some_are_learned_and_all_get_targets(reading, monkeypatch):
    model, encoded, _ = reading
    add_teacher_targets(encoded, model, seed=0)
    by_all = encoded.collate([*encoded])["teacher"]
    monkeypatch.setattr("mvcn.training.teacher.MOST_POSTS", 20)
    learned = []
    fit = OutOfFoldTeacher.__init__
    monkeypatch.setattr(
        OutOfFoldTeacher, "__init__", lambda *given: learned.append(given[1]) or fit(*given)
    )
    add_teacher_targets(encoded, model, seed=0)
    by_some = encoded.collate([*encoded])["teacher"]
    assert [len(features) for features in learned] == [20]
    torch.testing.assert_close(by_some.sum(-1), torch.ones(48))
    assert (by_some - by_all).abs().amax(-1).min() > 0
