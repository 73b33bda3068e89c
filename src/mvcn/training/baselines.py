"""Baselines of a training: the majority class, and linear models on the encoders as published."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from mvcn.evaluation.baselines import LINEAR, MAJORITY, compare_with_baselines
from mvcn.evaluation.learning_curve import LearningCurve
from mvcn.inputs.batches import EncodedPosts
from mvcn.models.classification import MvcnForClassification
from mvcn.training.features import pooled_features
from mvcn.training.linear import cross_validate, predict_out_of_fold
from mvcn.training.members import cross_validation_folds

MOST_POSTS, MOST_DEV_POSTS = 4_000, 1_000
"""Posts that linear models read, and how many of them are dev posts: a minute on two cores."""
FOLDS = 5
SHARES = (1 / 4, 1 / 2)
"""Of the training posts, for the learning curve, before all of them."""


@dataclass(frozen=True, slots=True)
class Baselines:
    """What baselines predict for held-out posts."""

    positions: Int[np.ndarray, " held_out"]
    """Positions of these posts among all that are held out."""
    probabilities: Mapping[str, Float[np.ndarray, "held_out classes"]]
    """Of `MAJORITY` and of the names of `LINEAR` for which posts have something to read."""
    train_posts: int
    """Posts that linear models were trained on."""
    curve: LearningCurve | None = None
    """Of the last of the linear models; only from the folds of all training posts."""

    def describe(
        self,
        probabilities: Float[np.ndarray, "all classes"],
        labels: Int[np.ndarray, " all"],
        class_names: Sequence[str],
        *,
        is_linear: bool,
    ) -> dict[str, Any]:
        """Return scores of the baselines, gains of a model over them, and what they say of it.

        Args:
            probabilities: Of the model, for all held-out posts.
            labels: Of these posts.
            class_names: Classes in the order of the probabilities.
            is_linear: Whether the model is a linear one itself.
        """
        comparison = compare_with_baselines(
            probabilities[self.positions],
            self.probabilities,
            labels[self.positions],
            class_names,
        )
        found: dict[str, Any] = {
            "posts": {"train": self.train_posts, "held_out": len(self.positions)},
            **comparison.to_mapping(),
            "conclusion": comparison.conclusion(is_linear=is_linear),
        }
        if self.curve is not None:
            found["learning_curve"] = self.curve.to_mapping()
            linear = LINEAR[[*self.probabilities][-1]]
            found["conclusion"].append(self.curve.sentence(f"a {linear}"))
        return found


def fit_baselines(
    model: MvcnForClassification,
    train: EncodedPosts,
    dev: EncodedPosts,
    folds: Int[np.ndarray, " train"] | None,
    seed: int,
) -> Baselines:
    """Fit baselines on training posts, and predict the posts that the model is evaluated on.

    Args:
        model: Its encoders, which are not trained yet, compute the features.
        train: Training posts.
        dev: Dev posts, which are predicted if there are no folds.
        folds: Fold of each training post, which is then predicted from the other folds.
        seed: Of the choice of posts, if there are too many.
    """
    found = (
        _on_dev(model, train, dev, seed)
        if folds is None
        else _out_of_fold(model, train, folds, seed)
    )
    shares = np.bincount(train.labels, minlength=len(model.class_names)) / len(train)
    majority = np.tile(shares, (len(found.positions), 1))
    return replace(found, probabilities={MAJORITY: majority, **found.probabilities})


def _on_dev(
    model: MvcnForClassification, train: EncodedPosts, dev: EncodedPosts, seed: int
) -> Baselines:
    """Return the predictions of linear models for dev posts."""
    learned = train.select(_draw(len(train), MOST_POSTS - MOST_DEV_POSTS, seed).tolist())
    positions = _draw(len(dev), MOST_DEV_POSTS, seed)
    seen = _features(model, learned, dev.select(positions.tolist()))
    labels, folds = learned.labels, cross_validation_folds(learned, FOLDS, seed)
    count = len(model.class_names)
    found = {
        name: cross_validate(one, labels, folds, count).model.probabilities(seen[name])
        for name, one in _features(model, learned, learned).items()
    }
    return Baselines(positions, found, len(learned))


def _out_of_fold(
    model: MvcnForClassification, train: EncodedPosts, folds: Int[np.ndarray, " train"], seed: int
) -> Baselines:
    """Return the predictions of linear models for training posts, from those of other folds."""
    positions = _draw(len(train), MOST_POSTS, seed)
    learned, own = train.select(positions.tolist()), folds[positions]
    features, labels = _features(model, learned, learned), learned.labels
    found = {
        name: predict_out_of_fold(one, labels, own, len(model.class_names))
        for name, one in features.items()
    }
    curve = None
    if found and len(learned) == len(train):
        name = [*found][-1]
        curve = _learning_curve(features[name], labels, own, found[name])
    return Baselines(positions, found, len(learned), curve)


def _draw(count: int, most: int, seed: int) -> Int[np.ndarray, " drawn"]:
    """Return all positions of posts, or some if there are more than `most`, in order."""
    return np.sort(np.random.default_rng(seed).permutation(count)[:most])


def _features(
    model: MvcnForClassification, train: EncodedPosts, posts: EncodedPosts
) -> dict[str, Float[np.ndarray, "posts dim"]]:
    """Return the features of posts for each of `LINEAR` that training posts and model have."""
    pooled = pooled_features(model, posts, range(len(posts)))
    has = {
        name: train.present[name].any() and getattr(pooled, name).shape[1] > 0
        for name in ("text", "image")
    }
    has["both"] = all(has.values())
    return {name: getattr(pooled, name) for name in LINEAR if has[name]}


def _learning_curve(
    features: Float[np.ndarray, "posts dim"],
    labels: Int[np.ndarray, " posts"],
    folds: Int[np.ndarray, " posts"],
    probabilities: Float[np.ndarray, "posts classes"],
) -> LearningCurve:
    """Return the accuracy on each fold of linear models that learn shares of the other folds.

    Args:
        features: Features of the posts.
        labels: Their classes.
        folds: Their folds.
        probabilities: Of the models that learn all posts of the other folds.
    """
    count = probabilities.shape[1]
    each = [predict_out_of_fold(features, labels, folds, count, share) for share in SHARES]
    columns = []
    for found in (*each, probabilities):
        is_right = found.argmax(1) == labels
        columns.append([is_right[folds == fold].mean() for fold in np.unique(folds)])
    size = len(labels) * (1 - 1 / len(columns[0]))
    posts = [max(1, round(share * size)) for share in (*SHARES, 1)]
    return LearningCurve(posts, np.array(columns).T)
