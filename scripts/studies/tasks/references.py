"""Plain linear models of scikit-learn, on words and on features of the packaged encoders."""

import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from mvcn.config import read_recipe
from mvcn.inputs.batches import PostEncoder
from mvcn.inputs.processor import build_processor
from mvcn.models.build import build_model
from mvcn.training.features import pooled_features
from mvcn.types import Post
from scripts.studies.tasks.posts import Draw

METRICS = ("accuracy", "f1_weighted", "f1_macro")
VECTORIZERS: dict[str, tuple[TfidfVectorizer, Sequence[tuple[int, int]]]] = {
    "words": (TfidfVectorizer(token_pattern=r"\w+|[^\w\s]"), [(1, 1), (1, 2)]),
    "characters": (TfidfVectorizer(analyzer="char_wb"), [(2, 5)]),
}
"""Name -> what is counted for TF-IDF, an emoji as a word, and lengths of n-grams to choose from."""
TEXT_PENALTIES = (1.0, 10.0, 100.0)
FEATURE_PENALTIES = (1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 1e-1)
"""Values of C to choose from, by cross-validation."""
FOLDS = 5
MAX_ITERATIONS = 300


def scores(labels: Sequence[str], predicted: Sequence[str]) -> dict[str, float]:
    """Return accuracy, weighted F1 and macro F1 of predictions."""
    weighted, macro = (
        float(f1_score(labels, predicted, average=average, zero_division=0))
        for average in ("weighted", "macro")
    )
    found = (float(accuracy_score(labels, predicted)), weighted, macro)
    return dict(zip(METRICS, found, strict=True))


def evaluate_references(draw: Draw) -> dict[str, dict[str, float]]:
    """Return the scores on the fresh posts of each linear model that has something to read."""
    train, fresh = draw.train, draw.fresh
    labels = ([str(post.label) for post in train], [str(post.label) for post in fresh])
    found = {}
    if any(post.text for post in train):
        texts = [[post.text for post in posts] for posts in (train, fresh)]
        for name, (vectorizer, lengths) in VECTORIZERS.items():
            steps = make_pipeline(vectorizer, _logistic_regression())
            grid = {
                "tfidfvectorizer__ngram_range": lengths,
                "logisticregression__C": TEXT_PENALTIES,
            }
            found[name] = _evaluate(steps, grid, texts, labels)
    for name, features in mean_features(train, fresh).items():
        started = time.monotonic()
        predicted = predict_from_features(features, labels[0])
        found[name] = scores(labels[1], predicted) | {"seconds": time.monotonic() - started}
    return found


def predict_from_features(features: Sequence[np.ndarray], labels: Sequence[str]) -> list[str]:
    """Return the classes of fresh posts by a logistic regression on those of `mean_features`.

    Args:
        features: Of the train posts, and of the fresh ones.
        labels: Of the train posts.
    """
    steps = make_pipeline(StandardScaler(), _logistic_regression())
    return _predict(steps, {"logisticregression__C": FEATURE_PENALTIES}, features, labels)


def mean_features(train: Sequence[Post], fresh: Sequence[Post]) -> dict[str, list[np.ndarray]]:
    """Return the mean tokens of the packaged encoders, for what the posts have.

    Those of texts are of the upper layers, of all word pieces up to the encoder's positions.
    """
    config = read_recipe("logreg")
    config.update({"model": {"max_tokens": "auto"}})
    model = build_model(config.model, ("a", "b"))
    encoder = PostEncoder.for_model(model, build_processor(config.model))
    encoded = [encoder.encode(posts) for posts in (train, fresh)]
    pooled = [pooled_features(model, posts, range(len(posts))) for posts in encoded]
    has_text, has_image = (any(getattr(post, n) for post in train) for n in ("text", "image"))
    found = {}
    if has_text:
        found["text features"] = [one.text for one in pooled]
    if has_image:
        found["image features"] = [one.image for one in pooled]
    if has_text and has_image:
        found["both features"] = [one.both for one in pooled]
    return found


def _logistic_regression() -> LogisticRegression:
    return LogisticRegression(max_iter=MAX_ITERATIONS)


def _evaluate(
    steps: Pipeline,
    grid: Mapping[str, Sequence[Any]],
    inputs: Sequence[Any],
    labels: Sequence[Sequence[str]],
) -> dict[str, float]:
    """Fit on train inputs, and return the scores on fresh ones, and the seconds of both."""
    started = time.monotonic()
    predicted = _predict(steps, grid, inputs, labels[0])
    return {**scores(labels[1], predicted), "seconds": time.monotonic() - started}


def _predict(
    steps: Pipeline,
    grid: Mapping[str, Sequence[Any]],
    inputs: Sequence[Any],
    labels: Sequence[str],
) -> list[str]:
    """Return the classes of fresh inputs by what train inputs and cross-validation choose."""
    search = GridSearchCV(
        steps,
        grid,
        scoring="f1_weighted",
        cv=StratifiedKFold(FOLDS, shuffle=True, random_state=0),
    )
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        search.fit(inputs[0], labels)
    return list(search.predict(inputs[1]).tolist())
