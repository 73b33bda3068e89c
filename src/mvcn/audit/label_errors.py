"""Labels that are improbable to a classifier that was trained on other posts."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from mvcn.audit.findings import AuditedPosts, Example, Finding
from mvcn.data.near_duplicates import duplicate_groups
from mvcn.data.posts import label_ids
from mvcn.encoders.tokens import freeze
from mvcn.errors import DataError, count_of
from mvcn.inputs.batches import PostEncoder
from mvcn.inputs.processor import build_processor
from mvcn.model_config import ModelConfig
from mvcn.models.build import build_model
from mvcn.training.features import pooled_features
from mvcn.training.teacher import FOLDS, out_of_fold_probabilities
from mvcn.types import ImageFacts, Post

NO_CLASS = -1


def find_label_errors(audited: AuditedPosts) -> Finding:
    """Return the posts whose label is probably wrong, the least probable label first.

    Probabilities come from a logistic regression on frozen features of text and image, trained on
    the folds without the post and its near-duplicates; `likely_label_errors` then decides.

    Raises:
        DataError: Fewer than two classes, or a class with fewer posts than folds.
    """
    positions = [i for i, post in enumerate(audited.posts) if post.label is not None]
    posts = [audited.posts[i] for i in positions]
    names = sorted({str(post.label) for post in posts})
    labels = np.array(label_ids(posts, names), dtype=np.int64)
    _require_enough(names, labels)
    facts = [audited.facts[i] for i in positions]
    groups = duplicate_groups([post.text for post in posts], facts)
    features = post_features(posts, facts)
    probabilities = out_of_fold_probabilities(features, labels, groups, len(names))
    suspects = likely_label_errors(probabilities, labels)
    suggested = confident_classes(probabilities, labels)
    rows = [
        {"id": posts[i].id, **_classes(names, probabilities[i], int(labels[i]), int(suggested[i]))}
        for i in suspects
    ]
    examples = [Example((positions[i],), _note(row)) for i, row in zip(suspects, rows, strict=True)]
    accuracy = float((probabilities.argmax(axis=1) == labels).mean())
    details = {"searched": True, "out_of_fold_accuracy": accuracy, "posts": rows}
    return Finding(len(rows), details, examples, f"out-of-fold accuracy {100 * accuracy:.1f} %")


def post_features(
    posts: Sequence[Post], facts: Sequence[ImageFacts | None]
) -> Float[np.ndarray, "posts dim"]:
    """Return concatenated text and image features, with zeros for what is missing.

    Image features come from the cache that training with a frozen image encoder shares.

    Args:
        posts: Posts.
        facts: Facts about each post's image; bad images count as missing.
    """
    config = ModelConfig()
    model, processor = build_model(config, ("unused", "classes")), build_processor(config)
    freeze(model)
    shown = [
        post if fact is not None and fact.problem is None else replace(post, image=None)
        for post, fact in zip(posts, facts, strict=True)
    ]
    encoded = PostEncoder.for_model(model, processor).encode(shown, "blank")
    found = pooled_features(model, encoded, range(len(encoded))).both
    features = np.zeros((len(posts), found.shape[1]), found.dtype)
    features[list(encoded.positions)] = found
    return features


def likely_label_errors(
    probabilities: Float[np.ndarray, "batch classes"], labels: Int[np.ndarray, " batch"]
) -> list[int]:
    """Return the positions of posts whose label is probably wrong, the least probable label first.

    A label is in doubt if `confident_classes` assigns its post to another class.

    Args:
        probabilities: Of posts that the model was not trained on.
        labels: Their classes as labelled.
    """
    confident = confident_classes(probabilities, labels)
    positions = np.flatnonzero((confident != NO_CLASS) & (confident != labels))
    own = probabilities[positions, labels[positions]]
    found: list[int] = positions[own.argsort(kind="stable")].tolist()
    return found


def confident_classes(
    probabilities: Float[np.ndarray, "batch classes"], labels: Int[np.ndarray, " batch"]
) -> Int[np.ndarray, " batch"]:
    r"""Return the class that each post is assigned to, -1 for none.

    It is the most probable class among those whose probability reaches :math:`t_j`, the mean
    probability of class j over the posts labelled j.

    Args:
        probabilities: Of posts that the model was not trained on.
        labels: Their classes as labelled.

    Source:
        Northcutt et al., Journal of Artificial Intelligence Research 2021, confident joint.
    """
    classes = range(probabilities.shape[1])
    thresholds = np.array(
        [probabilities[labels == k, k].mean() if (labels == k).any() else np.inf for k in classes]
    )
    reached = np.where(probabilities >= thresholds, probabilities, -1)
    return np.where(reached.max(1) >= 0, reached.argmax(1), NO_CLASS)


def _classes(
    names: Sequence[str], probabilities: Float[np.ndarray, " classes"], given: int, suggested: int
) -> dict[str, Any]:
    return {
        "given": names[given],
        "suggested": names[suggested],
        "probability_of_given": float(probabilities[given]),
        "probability_of_suggested": float(probabilities[suggested]),
    }


def _note(row: Mapping[str, Any]) -> str:
    return (
        f"{row['given']} ({100 * row['probability_of_given']:.1f} %), suggested: "
        f"{row['suggested']} ({100 * row['probability_of_suggested']:.1f} %)"
    )


def _require_enough(names: Sequence[str], labels: Int[np.ndarray, " posts"]) -> None:
    if len(names) < 2:  # noqa: PLR2004 - nothing to confuse
        raise DataError("--label-errors needs posts of at least two classes: leave it out.")
    counts = np.bincount(labels)
    if counts.min() < FOLDS:
        rarest = names[int(counts.argmin())]
        raise DataError(
            f"Class {rarest!r} has {count_of(int(counts.min()), 'post')}, too few for the "
            f"{FOLDS} folds of --label-errors: add posts, or leave it out."
        )
