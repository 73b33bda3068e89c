"""Kinds of posts that a model may be better or worse at."""

from collections.abc import Mapping, Sequence

import numpy as np

from mvcn.data.near_duplicates import have_near_duplicate
from mvcn.data.text import has_text
from mvcn.inputs.batches import MODALITIES
from mvcn.types import Post

NUM_LENGTHS = 3


def slices(posts: Sequence[Post], train_posts: Sequence[Post]) -> Mapping[str, Sequence[str]]:
    """Return what a post is judged apart by -> the name of each post's group."""
    near = have_near_duplicate([post.text for post in train_posts], [post.text for post in posts])
    return {
        "what the post has": [
            MODALITIES[has_text(post.text), post.image is not None] for post in posts
        ],
        "labels of text and image": [_agreement(post) for post in posts],
        "length of the text": _lengths(posts),
        "near-duplicate among the training texts": ["yes" if one else "no" for one in near],
    }


def _agreement(post: Post) -> str:
    if post.text_label is None or post.image_label is None:
        return "not annotated apart"
    return "equal" if post.text_label == post.image_label else "different"


def _lengths(posts: Sequence[Post]) -> list[str]:
    """Return groups of about equal size, named by how many words their texts have."""
    counts = np.array([len(post.text.split()) for post in posts])
    edges = np.unique(np.quantile(counts, np.arange(1, NUM_LENGTHS) / NUM_LENGTHS).round())
    groups = np.searchsorted(edges, counts)
    names = {}
    for group in np.unique(groups):
        members = counts[groups == group]
        names[group] = _words(int(members.min()), int(members.max()))
    return [names[group] for group in groups]


def _words(least: int, most: int) -> str:
    numbers = f"{least}" if least == most else f"{least} to {most}"
    return f"{numbers} word" if most == 1 else f"{numbers} words"
