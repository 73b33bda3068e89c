"""N-grams are fitted as scikit-learn would, and count as far as they help out of fold."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from mvcn.nn.ngrams import PAIR_WEIGHT, split_ngrams
from mvcn.training import ngrams
from mvcn.training.ngrams import fit_ngrams
from mvcn.types import WORD_NUMBERS


def make_posts(count, classes=3, seed=0, decide=True):
    """Posts whose class is one of their words, or that have nothing to do with it."""
    draw, rows = random.Random(seed), []
    for number in range(count):
        label = number % classes
        words = [draw.randrange(100, 200) for _ in range(8)]
        words[draw.randrange(8)] = label if decide else draw.randrange(classes)
        rows.append([7 + WORD_NUMBERS * (1 + word) for word in words])
    labels = np.arange(count) % classes
    return SimpleNamespace(texts=rows, labels=labels)


def dense(posts, idf):
    """Features of posts by the definition of the classifier."""
    rows = np.zeros((len(posts.texts), len(idf)))
    for row, text in zip(rows, posts.texts, strict=True):
        ids = torch.tensor([text])
        each = split_ngrams(ids, torch.ones_like(ids, dtype=torch.bool))
        for weight, (grams, is_real) in zip((1, PAIR_WEIGHT), each, strict=True):
            buckets = grams[is_real].numpy() % len(idf)
            values = weight * idf[buckets] / np.sqrt((idf[buckets] ** 2).sum())
            np.add.at(row, buckets, values)
    return rows


def folds(posts):
    return np.arange(len(posts.texts)) // 3 % 5


def fit(posts, classes=3):
    model, out_of_fold = fit_ngrams(posts.texts, posts.labels, folds(posts), classes)
    return model.classifier(), out_of_fold


def scores(classifier, posts):
    ids = torch.tensor(posts.texts)
    return classifier(ids, torch.ones_like(ids, dtype=torch.bool)).double().log_softmax(-1).numpy()


@pytest.mark.parametrize("classes", [2, 3])
def test_the_classifier_is_that_of_scikit_learn(classes):
    posts = make_posts(90, classes)
    classifier, _ = fit(posts, classes)
    features, errors = dense(posts, classifier.idf.double().numpy()), []
    for penalty in (1, 10, 100):  # one of them was chosen
        peer = LogisticRegression(C=penalty, max_iter=200).fit(features, posts.labels)
        errors.append(abs(scores(classifier, posts) - peer.predict_log_proba(features)).max())
    assert min(errors) < 1e-2
    assert (scores(classifier, posts).argmax(1) == posts.labels).mean() > 0.95


def test_words_that_decide_are_found_out_of_fold_and_others_are_not():
    for decide, least, most in ((True, 0.9, 1), (False, 0.1, 0.5)):
        posts = make_posts(300, decide=decide)
        right = (fit(posts)[1].argmax(1) == posts.labels).mean()
        assert least <= right <= most


def test_out_of_fold_probabilities_have_not_seen_the_post(monkeypatch):
    monkeypatch.setattr(ngrams, "INVERSE_PENALTIES", (10.0,))
    posts = make_posts(90)
    changed = SimpleNamespace(texts=posts.texts, labels=posts.labels.copy())
    own = folds(posts) == 0
    changed.labels[own] = (changed.labels[own] + 1) % 3
    (_, one), (_, other) = fit(posts), fit(changed)
    np.testing.assert_allclose(one[own], other[own], atol=1e-9)


def test_a_class_without_posts_and_a_post_without_a_text_are_no_infinity():
    posts = make_posts(90)
    posts.texts[0] = []
    posts.labels = np.where(posts.labels == 2, 1, posts.labels)
    classifier, rows = fit(posts)
    assert np.isfinite(rows).all()
    assert rows.argmax(1).max() == 1
    assert all(buffer.isfinite().all() for buffer in classifier.buffers())


def test_many_classes_share_fewer_hashes(monkeypatch):
    monkeypatch.setattr(ngrams, "MOST_WEIGHTS", 3 * 64)
    classifier, _ = fit(make_posts(90))
    assert classifier.weight.shape == (64, 3)
