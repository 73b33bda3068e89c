"""A teacher of soft targets: linear, cheap, and never asked about posts that it has learned."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mvcn.data.near_duplicates import duplicate_groups
from mvcn.models.batches import NO_LABEL, Collator, EncodedPosts
from mvcn.models.mvcn import MvcnForClassification
from mvcn.models.pooled import pooled_features
from mvcn.types import Post

FOLDS = 5
INVERSE_PENALTY = 1e-3
"""C of the logistic regression: standardised features outnumber the posts of small data sets."""
MAX_ITERATIONS = 300


def teach(
    encoded: EncodedPosts, posts: Sequence[Post], model: MvcnForClassification, collator: Collator
) -> None:
    """Give each training post the probabilities that a linear teacher has for it.

    The teacher is a logistic regression on the mean tokens of the encoders as they are before
    training. It predicts pairs of text and image label where the model has a head for them and all
    posts have both, and what the merge rule makes of the pairs; else the label.

    Args:
        encoded: The training posts as the model reads them; gets the probabilities.
        posts: The same posts.
        model: Its encoders make the features.
        collator: Makes the posts' batches.

    Source:
        Not in Wei et al., ACL 2023; ours. Distillation: Hinton et al., 2015. A teacher that has
        not seen the post: Dao et al., ICLR 2021 (cross-fitting).
    """
    features = pooled_features(model, encoded, collator)
    groups = duplicate_groups([post.text for post in posts])
    classes = len(model.class_names)
    pairs = encoded.pairs(classes)
    if model.annotation is None or NO_LABEL in pairs:
        encoded.teach(out_of_fold_probabilities(features, encoded.labels, groups, classes))
        return
    taught = out_of_fold_probabilities(features, pairs, groups, classes**2)
    shaped = torch.from_numpy(taught).view(-1, classes, classes)
    merged = model.annotation.merge(shaped.log()).exp()
    encoded.teach(merged.numpy(), shaped.numpy())


def out_of_fold_probabilities(
    features: Float[np.ndarray, "posts dim"],
    labels: Int[np.ndarray, " posts"],
    groups: Sequence[int],
    num_classes: int,
) -> Float[np.ndarray, "posts classes"]:
    """Return the class probabilities of each post from a classifier that has not seen its group.

    Where the other posts are of one class, or there are none, the classes' shares take its place.

    Args:
        features: One row a post.
        labels: 0 to `num_classes` - 1.
        groups: Number of each post's group; posts of one group are in the same fold.
        num_classes: Classes, of which some may lack.
    """
    shares = np.bincount(labels, minlength=num_classes) / len(labels)
    probabilities = np.tile(shares, (len(labels), 1))
    count = min(FOLDS, len(set(groups)))
    if count == 1:
        return probabilities
    for seen, held_out in GroupKFold(count, shuffle=True, random_state=0).split(
        features, groups=groups
    ):
        if len(np.unique(labels[seen])) > 1:
            classifier = make_pipeline(
                StandardScaler(), LogisticRegression(C=INVERSE_PENALTY, max_iter=MAX_ITERATIONS)
            ).fit(features[seen], labels[seen])
            probabilities[held_out] = 0
            probabilities[np.ix_(held_out, classifier.classes_)] = classifier.predict_proba(
                features[held_out]
            )
    return probabilities
