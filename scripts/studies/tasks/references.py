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
        predicted = fit_on_features(features[0], labels[0]).predict(features[1])
        found[name] = scores(labels[1], predicted) | {"seconds": time.monotonic() - started}
    return found


def fit_on_features(features: np.ndarray, labels: Sequence[str]) -> GridSearchCV:
    """Return a logistic regression on `mean_features`, whose penalty is cross-validated."""
    steps = make_pipeline(StandardScaler(), _logistic_regression())
    return _fit(steps, {"logisticregression__C": FEATURE_PENALTIES}, features, labels)


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
    predicted = _fit(steps, grid, inputs[0], labels[0]).predict(inputs[1])
    return {**scores(labels[1], predicted), "seconds": time.monotonic() - started}


def _fit(
    steps: Pipeline, grid: Mapping[str, Sequence[Any]], inputs: Sequence[Any], labels: Sequence[str]
) -> GridSearchCV:
    """Return the steps with what cross-validation chooses of the grid, fitted on all inputs."""
    search = GridSearchCV(
        steps,
        grid,
        scoring="f1_weighted",
        cv=StratifiedKFold(FOLDS, shuffle=True, random_state=0),
    )
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        return search.fit(inputs, labels)
