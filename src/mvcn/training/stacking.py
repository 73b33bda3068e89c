"""Fit the linear models of an ensemble, and choose how much each counts."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.optimize import minimize
from scipy.special import log_softmax
from torch import nn

from mvcn.inputs.batches import EncodedPosts
from mvcn.models.classification import MvcnForClassification
from mvcn.models.linear_stack import LinearStack
from mvcn.nn.ngrams import NgramClassifier
from mvcn.training.features import pooled_features
from mvcn.training.linear import LinearModel, cross_validate, one_thread
from mvcn.training.linear_networks import LEAST_LOGIT, set_weights
from mvcn.training.ngrams import NgramModel, fit_ngrams

NGRAMS = "ngrams"
MIN_FOLDS = 2
STANDARD_ERRORS = 3.0
"""Of the mean log-likelihood of a post, by which linear models must improve it."""
LEAST_SCALE = 0.05
"""Of the networks' log-probabilities, where linear models alone decide."""
LEAST_SHARE = 1e-6
"""Of a class without a training post, whose logarithm would be minus infinity."""


class Fitted(NamedTuple):
    """A linear model, and the log-probabilities of others of its kind for the other folds."""

    model: NgramModel | LinearModel
    out_of_fold: Float[np.ndarray, "posts classes"]
    has: Bool[np.ndarray, " posts"]
    """Which posts have what it reads."""


def fit_linear_models(
    model: MvcnForClassification, posts: EncodedPosts, folds: Int[np.ndarray, " posts"]
) -> dict[str, Fitted]:
    """Return a linear model of each frozen input that posts of two folds have, and of n-grams.

    Args:
        model: Its frozen encoders give the features.
        posts: Training posts.
        folds: Fold of each post, two or more.
    """
    classes, found, has = len(model.class_names), {}, posts.present
    pooled = pooled_features(model, posts, range(len(posts)), model.config.lower_text_layers + 1)
    for name in ("text", "image"):
        features, some = getattr(pooled, name), has[name]
        if name in model.own_fields or not features.shape[1] or _num_folds(folds[some]) < MIN_FOLDS:
            continue
        fitted = cross_validate(features[some], posts.labels[some], folds[some], classes)
        assert fitted.out_of_fold is not None  # there are two folds
        rows = np.zeros((len(posts), classes))
        rows[some] = _log(fitted.out_of_fold)
        found[name] = Fitted(fitted.model, rows, some)
    if has["text"].any():
        ngrams, probabilities = fit_ngrams(posts.texts, posts.labels, folds, classes)
        found[NGRAMS] = Fitted(ngrams, _log(probabilities), has["text"])
    return found


def stack_linear_models(
    models: Mapping[str, Fitted],
    labels: Int[np.ndarray, " posts"],
    logits: Float[np.ndarray, "posts classes"],
) -> tuple[LinearStack, Float[np.ndarray, "posts classes"]] | None:
    """Scale linear models to what they add to the networks.

    Their logits say how much likelier a class is than by its share of the posts: the networks know
    these shares as well, and they do not count twice.

    Args:
        models: As `fit_linear_models` returns them.
        labels: Classes of the training posts.
        logits: Out-of-fold logits of the networks.

    Returns:
        The models, and what they add to the out-of-fold logits; None if they do not improve them.
    """
    counts = np.bincount(labels, minlength=logits.shape[1])
    shares = np.log((counts / len(labels)).clip(LEAST_SHARE))
    gains = [(one.out_of_fold - shares) * one.has[:, None] for one in models.values()]
    scales = choose_scales(logits, gains, labels)
    chosen = {name: scale for name, scale in zip(models, scales, strict=True) if scale > 0}
    if not chosen:
        return None
    modules = {name: _module(models[name].model) for name in chosen}
    for name, scale in chosen.items():
        _scale(modules[name], scale, shares)
    stack = _build(modules, logits.shape[1])
    return stack, np.sum([scale * gain for scale, gain in zip(scales, gains, strict=True)], axis=0)


def choose_scales(
    logits: Float[np.ndarray, "posts classes"],
    gains: Sequence[Float[np.ndarray, "posts classes"]],
    labels: Int[np.ndarray, " posts"],
) -> Float[np.ndarray, " models"]:
    """Return the factors, 0 or more, with which the sum is likeliest at any temperature.

    They are 0 unless the sum is likelier than the networks alone, at their best temperature, by
    `STANDARD_ERRORS`: less may be chance, or what the mean of the members gains without them, whose
    logits here are those of one member each.

    Args:
        logits: Of the networks.
        gains: Of each linear model.
        labels: Classes of the posts.
    """
    terms = np.stack([log_softmax(logits, axis=1), *gains])
    (_, alone), (scales, joint) = (_likeliest(terms[:some], labels) for some in (1, len(terms)))
    gain = joint - alone
    if gain.mean() <= STANDARD_ERRORS * gain.std() / np.sqrt(len(gain)):
        return np.zeros(len(gains))
    return np.asarray(scales[1:] / scales[0])


def _likeliest(
    terms: Float[np.ndarray, "terms posts classes"], labels: Int[np.ndarray, " posts"]
) -> tuple[Float[np.ndarray, " terms"], Float[np.ndarray, " posts"]]:
    """Return the factors of the likeliest sum, and the log-likelihood of each post."""
    rows = np.arange(len(labels))
    correct = terms[:, rows, labels]

    def cost(scales: Float[np.ndarray, " terms"]) -> tuple[float, Float[np.ndarray, " terms"]]:
        joint = log_softmax(np.tensordot(scales, terms, 1), axis=1)
        slopes = (np.exp(joint) * terms).sum(2) - correct
        return -float(joint[rows, labels].mean()), slopes.mean(1)

    start, bounds = np.full(len(terms), 0.5), [(LEAST_SCALE, None), *[(0, None)] * (len(terms) - 1)]
    with one_thread():
        scales = minimize(cost, start, jac=True, bounds=bounds).x
    return scales, log_softmax(np.tensordot(scales, terms, 1), axis=1)[rows, labels]


def _num_folds(folds: Int[np.ndarray, " posts"]) -> int:
    return len(np.unique(folds))


def _log(probabilities: Float[np.ndarray, "posts classes"]) -> Float[np.ndarray, "posts classes"]:
    return np.asarray(np.log(probabilities.clip(min=np.exp(LEAST_LOGIT))))


def _module(model: NgramModel | LinearModel) -> NgramClassifier | nn.Linear:
    if isinstance(model, NgramModel):
        return model.classifier()
    classes, features = model.weight.shape
    linear = nn.Linear(features, classes)
    set_weights(linear, model)
    return linear


def _build(models: Mapping[str, NgramClassifier | nn.Linear], num_classes: int) -> LinearStack:
    """Return the stack of some models."""
    means = {name: one for name, one in models.items() if isinstance(one, nn.Linear)}
    stack = LinearStack(0, {name: one.in_features for name, one in means.items()}, num_classes)
    stack.means.update(means)
    ngrams = models.get(NGRAMS)
    assert ngrams is None or isinstance(ngrams, NgramClassifier)
    stack.ngrams = ngrams
    return stack


@torch.no_grad()
def _scale(
    model: NgramClassifier | nn.Linear, scale: float, shares: Float[np.ndarray, " classes"]
) -> None:
    """Make the logits of a model relative to the shares of the classes, and scale them."""
    model.bias.sub_(torch.from_numpy(shares)).mul_(scale)
    model.weight.mul_(scale)
