"""Labels that are improbable to a classifier which was trained on the other posts."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int

from mvcn.audit.findings import AuditedPosts, Example, Finding
from mvcn.config import ModelConfig
from mvcn.data.near_duplicates import duplicate_groups
from mvcn.data.posts import label_ids
from mvcn.encoders.tokens import freeze
from mvcn.errors import DataError
from mvcn.evaluation.label_errors import confident_classes, likely_label_errors
from mvcn.inputs import build_processor
from mvcn.inputs.batches import PostEncoder
from mvcn.models import build_model
from mvcn.training.teacher import FOLDS, out_of_fold_probabilities, pooled_features
from mvcn.types import ImageFacts, Post


def find_label_errors(audited: AuditedPosts) -> Finding:
    """Return the posts whose label is probably wrong, the least probable label first.

    A logistic regression on frozen features of text and image gives each post's probabilities from
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
    issues = likely_label_errors(probabilities, labels)
    suggested = confident_classes(probabilities, labels)
    rows = [
        {
            "id": posts[i].id,
            "given": names[labels[i]],
            "suggested": names[suggested[i]],
            "probability_of_given": float(probabilities[i, labels[i]]),
            "probability_of_suggested": float(probabilities[i, suggested[i]]),
        }
        for i in issues
    ]
    accuracy = float((probabilities.argmax(axis=1) == labels).mean())
    examples = [
        Example(
            (positions[i],),
            f"{row['given']} ({row['probability_of_given']:.1%}), suggested: "
            f"{row['suggested']} ({row['probability_of_suggested']:.1%})",
        )
        for i, row in zip(issues, rows, strict=True)
    ]
    details = {"searched": True, "out_of_fold_accuracy": accuracy, "posts": rows}
    return Finding(len(rows), details, examples, f"out-of-fold accuracy {accuracy:.1%}")


def post_features(
    posts: Sequence[Post], facts: Sequence[ImageFacts | None]
) -> Float[np.ndarray, "posts dim"]:
    """Return text and image features side by side; zeros for what is missing.

    Images come from the cache that training with a frozen image encoder fills and reads.

    Args:
        posts: Posts.
        facts: What is known of each post's image; bad ones count as missing.
    """
    config = ModelConfig()
    model, processor = build_model(config, ("unused", "classes")), build_processor(config)
    freeze(model)
    shown = [
        post if fact is not None and fact.problem is None else replace(post, image=None)
        for post, fact in zip(posts, facts, strict=True)
    ]
    encoded = PostEncoder.for_model(model, processor).encode(shown, "blank")
    found = pooled_features(model, encoded, range(len(encoded)))
    features = np.zeros((len(posts), found.shape[1]), found.dtype)
    features[list(encoded.positions)] = found
    return features


def _require_enough(names: Sequence[str], labels: Int[np.ndarray, " posts"]) -> None:
    if len(names) < 2:  # noqa: PLR2004 - nothing to confuse
        raise DataError("--label-errors needs posts of two classes at least: leave it out.")
    counts = np.bincount(labels)
    if counts.min() < FOLDS:
        rarest = names[int(counts.argmin())]
        raise DataError(
            f"Class {rarest!r} has {counts.min()} post(s), too few for the {FOLDS} folds of "
            "--label-errors: add posts, or leave it out."
        )
