"""A linear teacher of soft targets, which predicts only posts that it was not trained on."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int

from mvcn.data.near_duplicates import duplicate_groups
from mvcn.data.posts import NO_LABEL
from mvcn.data.splits import group_folds
from mvcn.inputs.batches import EncodedPosts
from mvcn.models.classification import MvcnForClassification
from mvcn.training.features import pooled_features
from mvcn.training.linear import fit_linear

FOLDS = 5
MOST_POSTS = 20_000
"""Posts that the teacher is trained on, and whose features are held at a time: 0.5 GB."""


def add_teacher_targets(encoded: EncodedPosts, model: MvcnForClassification, seed: int) -> None:
    """Add to each training post the probabilities that a linear teacher predicts for it.

    The teacher is a logistic regression on the mean tokens of the encoders as they are before
    training. If the model has a unimodal-label head and all posts have both unimodal labels, it
    predicts pairs of these, which the merge rule turns into labels; else it predicts the label.

    Args:
        encoded: Training posts.
        model: The model whose encoders compute the features.
        seed: Seed of the choice of posts to train the teacher on, if there are more than enough.

    Source:
        Not in Wei et al., ACL 2023; ours. Distillation: Hinton et al., 2015. A teacher that has
        not seen the post: Dao et al., ICLR 2021 (cross-fitting).
    """
    classes = len(model.class_names)
    pairs = encoded.pairs(classes)
    has_pairs = model.unimodal_label_head is not None and NO_LABEL not in pairs
    labels, count = (pairs, classes**2) if has_pairs else (encoded.labels, classes)
    targets = _teacher_targets(encoded, model, labels, count, seed)
    if model.unimodal_label_head is None or not has_pairs:
        encoded.add_teacher_targets(targets)
        return
    shaped = torch.from_numpy(targets).view(-1, classes, classes)
    merged = model.unimodal_label_head.merge(shaped.log()).exp()
    encoded.add_teacher_targets(merged.numpy(), shaped.numpy())


def _teacher_targets(
    encoded: EncodedPosts,
    model: MvcnForClassification,
    labels: Int[np.ndarray, " posts"],
    num_classes: int,
    seed: int,
) -> Float[np.ndarray, "posts classes"]:
    """Train the teacher on the first `MOST_POSTS` drawn posts, and predict all of them."""
    folds = group_folds(duplicate_groups([post.text for post in encoded.posts]), FOLDS)
    targets = np.zeros((len(encoded), num_classes))
    order, teacher = np.random.default_rng(seed).permutation(len(encoded)), None
    for start in range(0, len(order), MOST_POSTS):
        chosen = np.sort(order[start : start + MOST_POSTS])
        features = pooled_features(model, encoded, chosen.tolist()).both
        if teacher is None:
            teacher = OutOfFoldTeacher(features, labels[chosen], folds[chosen], num_classes)
        targets[chosen] = teacher.probabilities(features, folds[chosen])
    return targets


class OutOfFoldTeacher:
    """A logistic regression for each fold, fitted on the posts of the other folds.

    If the others have a single class, or there are none, it predicts the shares of the classes.

    Args:
        features: One feature vector per post.
        labels: 0 to `num_classes` - 1.
        folds: Fold number of each post, from 0.
        num_classes: Classes, some of which may be missing.
    """

    def __init__(
        self,
        features: Float[np.ndarray, "posts dim"],
        labels: Int[np.ndarray, " posts"],
        folds: Int[np.ndarray, " posts"],
        num_classes: int,
    ) -> None:
        self.shares = np.bincount(labels, minlength=num_classes) / len(labels)
        self.classifiers = {
            fold: fit_linear(features[folds != fold], labels[folds != fold], num_classes)[0]
            for fold in np.unique(folds).tolist()
            if len(np.unique(labels[folds != fold])) > 1
        }

    def probabilities(
        self, features: Float[np.ndarray, "posts dim"], folds: Int[np.ndarray, " posts"]
    ) -> Float[np.ndarray, "posts classes"]:
        """Return the class probabilities of posts from the classifiers that have not seen them."""
        found = np.tile(self.shares, (len(features), 1))
        for fold, classifier in self.classifiers.items():
            own = np.flatnonzero(folds == fold)
            if len(own):
                found[own] = classifier.probabilities(features[own])
        return found


def out_of_fold_probabilities(
    features: Float[np.ndarray, "posts dim"],
    labels: Int[np.ndarray, " posts"],
    groups: Sequence[int],
    num_classes: int,
) -> Float[np.ndarray, "posts classes"]:
    """Return the class probabilities of each post from a classifier that has not seen its group.

    Args:
        features: One feature vector per post.
        labels: 0 to `num_classes` - 1.
        groups: Group number of each post; posts of one group are in the same fold.
        num_classes: Classes, some of which may be missing.
    """
    folds = group_folds(groups, FOLDS)
    return OutOfFoldTeacher(features, labels, folds, num_classes).probabilities(features, folds)
