"""Logistic regressions on standardised features, with a penalty chosen by cross-validation."""

import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.special import softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix
from sklearn.preprocessing import StandardScaler
from threadpoolctl import ThreadpoolController

from mvcn.evaluation.metrics import accuracy, f1_weighted

INVERSE_PENALTIES = (1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
"""Values of C that are tried: small, as small datasets have fewer posts than features."""
INVERSE_PENALTY = 1e-3
"""C where there are too few posts to choose it."""
MAX_ITERATIONS = 300
MIN_FOLDS = 2


def one_thread() -> AbstractContextManager[Any]:
    """Return a context for many small products, whose threads would mostly wait for each other.

    On two cores that are busy, these take up to forty times as long by two threads as by one.
    """
    limits: AbstractContextManager[Any] = _libraries().limit(limits=1, user_api="blas")
    return limits


@cache
def _libraries() -> Any:
    """Find the libraries that compute products: that takes as long as a small fit."""
    return ThreadpoolController()


@dataclass(frozen=True, slots=True)
class LinearModel:
    """A linear classifier of features that are not standardised: the standardisation is in it."""

    weight: Float[np.ndarray, "classes dim"]
    bias: Float[np.ndarray, " classes"]
    """-inf for a class without training posts."""

    def logits(
        self, features: Float[np.ndarray, "posts dim"]
    ) -> Float[np.ndarray, "posts classes"]:
        """Return the logits of posts."""
        return np.asarray(features @ self.weight.T + self.bias)

    def probabilities(
        self, features: Float[np.ndarray, "posts dim"]
    ) -> Float[np.ndarray, "posts classes"]:
        """Return the class probabilities of posts."""
        return np.asarray(softmax(self.logits(features), axis=1))


def fit_linear(
    features: Float[np.ndarray, "posts dim"],
    labels: Int[np.ndarray, " posts"],
    num_classes: int,
    inverse_penalties: Sequence[float] = (INVERSE_PENALTY,),
) -> list[LinearModel]:
    """Return a logistic regression for each penalty, as scikit-learn fits it.

    With a single class, it is always predicted.

    Args:
        features: One feature vector per post; standardised here.
        labels: 0 to `num_classes` - 1.
        num_classes: Classes, some of which may be missing.
        inverse_penalties: Values of C, in rising order, as each fit starts from the one before.
    """
    classes = np.unique(labels)
    weight, bias = np.zeros((num_classes, features.shape[1])), np.full(num_classes, -np.inf)
    bias[classes] = 0
    if len(classes) == 1:
        return [LinearModel(weight, bias) for _ in inverse_penalties]
    scaler = StandardScaler().fit(features)
    scaled, basis = _span(scaler.transform(features))
    classifier = LogisticRegression(max_iter=MAX_ITERATIONS, warm_start=True)
    found = []
    with one_thread(), warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        for inverse_penalty in inverse_penalties:
            classifier.set_params(C=inverse_penalty).fit(scaled, labels)
            weight, bias = weight.copy(), bias.copy()
            weight[classes] = for_each_class(_out_of_span(classifier.coef_, basis)) / scaler.scale_
            bias[classes] = for_each_class(classifier.intercept_[:, None])[:, 0]
            bias[classes] -= weight[classes] @ scaler.mean_
            found.append(LinearModel(weight, bias))
    return found


@dataclass(frozen=True, slots=True)
class CrossValidated:
    """A logistic regression on all posts, with the penalty that is best out of fold."""

    model: LinearModel
    out_of_fold: Float[np.ndarray, "posts classes"] | None
    """Class probabilities of each post as `predict_out_of_fold` returns them; None if there is
    only one fold, and `INVERSE_PENALTY` is used."""


def cross_validate(
    features: Float[np.ndarray, "posts dim"],
    labels: Int[np.ndarray, " posts"],
    folds: Int[np.ndarray, " posts"],
    num_classes: int,
) -> CrossValidated:
    """Choose the penalty of a logistic regression by cross-validation, and fit it on all posts.

    Args:
        features: As for `fit_linear`.
        labels: As for `fit_linear`.
        folds: Fold number of each post.
        num_classes: As for `fit_linear`.
    """
    if len(np.unique(folds)) < MIN_FOLDS:
        return CrossValidated(fit_linear(features, labels, num_classes)[0], None)
    logits = _out_of_fold_logits(features, labels, folds, num_classes)
    chosen = INVERSE_PENALTIES[best_penalty(logits, labels)]
    model = fit_linear(features, labels, num_classes, [chosen])[0]
    return CrossValidated(model, choose_per_fold(logits, labels, folds))


def predict_out_of_fold(
    features: Float[np.ndarray, "posts dim"],
    labels: Int[np.ndarray, " posts"],
    folds: Int[np.ndarray, " posts"],
    num_classes: int,
    share: float = 1.0,
    seed: int = 0,
) -> Float[np.ndarray, "posts classes"]:
    """Return the class probabilities of each post from a model that was fitted on other folds.

    The penalty for a fold is the best one for the posts of the other folds, so that the scores of
    a fold are not those of the penalty that suits it best.

    Args:
        features: As for `fit_linear`.
        labels: As for `fit_linear`.
        folds: Fold number of each post, two or more.
        num_classes: As for `fit_linear`.
        share: Share of the other folds' posts that each model is fitted on.
        seed: Of the choice of these posts.
    """
    logits = _out_of_fold_logits(features, labels, folds, num_classes, share, seed)
    return choose_per_fold(logits, labels, folds)


def choose_per_fold(
    logits: Float[np.ndarray, "penalties posts classes"], labels: np.ndarray, folds: np.ndarray
) -> Float[np.ndarray, "posts classes"]:
    """Return the probabilities of each fold by the penalty that is best for the other folds.

    Args:
        logits: Of each post, from models that were fitted on other folds.
        labels: Classes of the posts.
        folds: Fold number of each post.
    """
    found = np.empty(logits.shape[1:])
    for fold in np.unique(folds):
        others = folds != fold
        found[~others] = logits[best_penalty(logits[:, others], labels[others])][~others]
    return np.asarray(softmax(found, axis=1))


def _out_of_fold_logits(
    features: np.ndarray,
    labels: np.ndarray,
    folds: np.ndarray,
    num_classes: int,
    share: float = 1.0,
    seed: int = 0,
) -> Float[np.ndarray, "penalties posts classes"]:
    """Return the logits of each post, for each penalty."""
    generator = np.random.default_rng(seed)
    logits = np.empty((len(INVERSE_PENALTIES), len(labels), num_classes))
    for fold in np.unique(folds):
        others, own = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        learned = np.sort(generator.permutation(others)[: max(1, round(share * len(others)))])
        models = fit_linear(features[learned], labels[learned], num_classes, INVERSE_PENALTIES)
        logits[:, own] = [model.logits(features[own]) for model in models]
    return logits


def best_penalty(
    logits: Float[np.ndarray, "penalties posts classes"], labels: Int[np.ndarray, " posts"]
) -> int:
    """Return the position of the penalty with the largest sum of accuracy and weighted F1."""
    classes = range(logits.shape[2])
    confusions = np.stack(
        [confusion_matrix(labels, one.argmax(1), labels=classes) for one in logits]
    )
    return int((accuracy(confusions) + f1_weighted(confusions)).argmax())


def _span(
    features: Float[np.ndarray, "posts dim"],
) -> tuple[Float[np.ndarray, "posts rank"], Float[np.ndarray, "dim rank"] | None]:
    """Return the features in an orthonormal basis of those of all posts, and the basis.

    The weights of a logistic regression lie in the span of the features (the penalty drives all
    else to 0), and in the basis its loss and penalty are the same. With fewer posts than features
    the basis is small, and the fit faster; else there is none.
    """
    posts, dim = features.shape
    if 2 * posts > dim:
        return features, None
    basis = np.linalg.qr(features.T)[0]
    return features @ basis, basis


def _out_of_span(
    weight: Float[np.ndarray, "rows rank"], basis: Float[np.ndarray, "dim rank"] | None
) -> Float[np.ndarray, "rows dim"]:
    return weight if basis is None else weight @ basis.T


def for_each_class(rows: Float[np.ndarray, "rows dim"]) -> Float[np.ndarray, "classes dim"]:
    """Return one row per class: scikit-learn gives one, of the second, where there are two."""
    return np.concatenate([-rows / 2, rows / 2]) if len(rows) == 1 else rows
