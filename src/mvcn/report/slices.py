"""Scores of parts of the held-out posts: by modality, by length of the text, and the like."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mvcn.data.near_duplicates import have_near_duplicate
from mvcn.data.text import has_text
from mvcn.evaluation.metrics import Evaluation, evaluate_groups
from mvcn.report.held_out import HeldOut
from mvcn.report.rounding import ends, number, percent
from mvcn.runtime.batches import MODALITIES
from mvcn.types import Post

NUM_LENGTHS = 3
"""Groups of posts by the length of their texts."""
FEWEST_POSTS = 30
"""Of a group whose scores are shown as shares, with intervals."""
AGREEMENT = ("equal", "different", "not both labelled")
DUPLICATES = ("yes", "no")


class Row(NamedTuple):
    """A group of posts in a table."""

    name: str
    right: int
    posts: int
    shares: tuple[str, str, str] | None
    """Accuracy, its interval and weighted F1 in percent; None for too few posts."""


@dataclass(frozen=True, slots=True)
class Slice:
    """Posts in groups, which are in their natural order and not by size."""

    groups: Mapping[str, Evaluation]
    """Name of a group -> scores of its posts; two or more."""

    @property
    def rows(self) -> list[Row]:
        """The groups, with shares only where there are posts enough."""
        return [
            Row(name, round(one.accuracy * one.n), one.n, _shares(one))
            for name, one in self.groups.items()
        ]

    @property
    def sentence(self) -> str:
        """What the groups say: where accuracy is lowest, and whether chance may explain that."""
        large = {name: one for name, one in self.groups.items() if one.n >= FEWEST_POSTS}
        if len(large) < 2:  # noqa: PLR2004 - nothing to compare
            return "Too few posts to compare the groups."
        low, high = (choose(large, key=lambda n: large[n].accuracy) for choose in (min, max))
        shown = [f"{percent(large[n].accuracy, large[n].n)} for '{n}'" for n in (low, high)]
        if large[low].intervals["accuracy"][1] >= large[high].intervals["accuracy"][0]:
            return f"From {shown[0]} to {shown[1]}: the intervals overlap, so it may be chance."
        return f"Accuracy is measurably lower, {shown[0]}, against {shown[1]}."


def _shares(one: Evaluation) -> tuple[str, str, str] | None:
    if one.n < FEWEST_POSTS:
        return None
    interval = ends(one.intervals["accuracy"], one.n)
    return number(one.accuracy, one.n), interval, number(one.f1_weighted, one.n)


def evaluate_slices(
    held_out: HeldOut, learned: Sequence[Post], class_names: Sequence[str]
) -> dict[str, Slice]:
    """Return kind of slice -> its groups, of kinds with more than one group.

    Args:
        held_out: The posts to evaluate.
        learned: Posts that the model was trained on, of which others may be near-duplicates.
        class_names: Names of the classes.
    """
    found = {}
    for title, (names, groups) in slices(held_out.posts.posts, learned).items():
        scores = evaluate_groups(held_out.probabilities, held_out.labels, groups, class_names)
        if scores:
            found[title] = Slice({name: scores[name] for name in names if name in scores})
    return found


def slices(
    posts: Sequence[Post], learned: Sequence[Post]
) -> Mapping[str, tuple[Sequence[str], Sequence[str]]]:
    """Return kind of slice -> the names of its groups in order, and the group of each post."""
    near = have_near_duplicate([post.text for post in learned], [post.text for post in posts])
    modalities = [MODALITIES[has_text(post.text), post.image is not None] for post in posts]
    return {
        "What the post has": ([*MODALITIES.values()], modalities),
        "Labels of text and image": (AGREEMENT, [_agreement(post) for post in posts]),
        "Length of the text": _lengths(posts),
        "Has a near-duplicate among the training texts": (
            DUPLICATES,
            [DUPLICATES[not one] for one in near],
        ),
    }


def _agreement(post: Post) -> str:
    if post.text_label is None or post.image_label is None:
        return AGREEMENT[2]
    return AGREEMENT[post.text_label != post.image_label]


def _lengths(posts: Sequence[Post]) -> tuple[Sequence[str], Sequence[str]]:
    """Return groups of about equal size from short to long, named by their range of words."""
    counts = np.array([len(post.text.split()) for post in posts])
    edges = np.unique(np.quantile(counts, np.arange(1, NUM_LENGTHS) / NUM_LENGTHS).round())
    groups = np.searchsorted(edges, counts)
    names = {
        group: _words(int(counts[groups == group].min()), int(counts[groups == group].max()))
        for group in np.unique(groups).tolist()
    }
    return [*names.values()], [names[group] for group in groups.tolist()]


def _words(least: int, most: int) -> str:
    numbers = f"{least}" if least == most else f"{least} to {most}"
    return f"{numbers} word" if most == 1 else f"{numbers} words"
