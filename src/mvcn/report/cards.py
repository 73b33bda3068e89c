"""Single posts of the page: what speaks for their class, and training posts that are similar."""

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from mvcn.audit.label_errors import confident_classes, likely_label_errors
from mvcn.data.images import open_thumbnail
from mvcn.explain.figures import heat_map
from mvcn.explain.post import SMALL_DECREASE, Explanation, Word, explain
from mvcn.explain.run import TrainedRun
from mvcn.report.held_out import HeldOut
from mvcn.report.html import jpeg_address
from mvcn.report.posts import listed
from mvcn.types import DEFAULT_SALIENCY

SHOWN_POSTS = 6
"""Of the best, and of the worst."""
SHOWN_LABELS = 12
"""Of those in doubt."""
SHOWN_NEIGHBOURS = 3
SHOWN_WORDS = 3
"""For the class, and against it."""
SHOWN_CLASSES = 3
"""With their probabilities."""
LETTER = re.compile(r"\w")
THUMBNAIL_PX, SMALL_PX = 224, 96


class Piece(NamedTuple):
    """A part of a text."""

    text: str
    saliency: float | None = None
    """From -1, against the class, to 1, for it; None for what is between words or not read."""


class Cards:
    """Held-out posts as content of the templates.

    Args:
        run: The run.
        held_out: Its held-out posts.
    """

    def __init__(self, run: TrainedRun, held_out: HeldOut) -> None:
        self.run, self.held_out = run, held_out
        of_label = held_out.probabilities[range(len(held_out.labels)), held_out.labels]
        order = of_label.argsort(kind="stable")
        is_right = held_out.is_right[order]
        self._worst: list[int] = order[~is_right][:SHOWN_POSTS].tolist()
        self._best: list[int] = order[is_right][::-1][:SHOWN_POSTS].tolist()

    @property
    def best(self) -> list[dict[str, Any]]:
        """The right predictions with the highest probabilities."""
        return [self._explained[i] for i in self._best]

    @property
    def worst(self) -> list[dict[str, Any]]:
        """The wrong predictions with the least probability of the label."""
        return [self._explained[i] for i in self._worst]

    @property
    def explains_one_member(self) -> bool:
        """Whether each card explains the member of an ensemble that was not trained on the post."""
        return any(card["is_unseen"] for card in self._explained.values())

    @cached_property
    def doubtful(self) -> list[int]:
        """Positions of the posts whose label is in doubt, the least probable label first."""
        return likely_label_errors(self.held_out.probabilities, self.held_out.labels)

    @property
    def doubtful_labels(self) -> Iterator[dict[str, Any]]:
        """The first of them: the post, its label, and the class that is suggested."""
        names, probabilities = self.run.model.class_names, self.held_out.probabilities
        suggested = confident_classes(probabilities, self.held_out.labels)
        for i in self.doubtful[:SHOWN_LABELS]:
            given, other = int(self.held_out.labels[i]), int(suggested[i])
            yield {
                **listed(self.held_out.posts.posts[i], SMALL_PX),
                "chance": float(probabilities[i, given]),
                "suggested": names[other],
                "suggested_chance": float(probabilities[i, other]),
            }

    @cached_property
    def _explained(self) -> dict[int, dict[str, Any]]:
        """Position of a post among the best and the worst -> its card."""
        run, chosen = self.run, sorted({*self._best, *self._worst})
        posts = self.held_out.posts.select(chosen)
        members = run.members_without(posts.posts)
        found = explain(
            run.model,
            run.processor,
            posts,
            DEFAULT_SALIENCY,
            run.train_space,
            run.train.posts,
            members,
        )
        return {
            i: {**_card(one), **self._predicted(i), "is_unseen": member is not None}
            for i, one, member in zip(chosen, found, members, strict=True)
        }

    def _predicted(self, i: int) -> dict[str, Any]:
        """Return what was predicted for a post."""
        names, row = self.run.model.class_names, self.held_out.probabilities[i]
        leading = (-row).argsort(kind="stable")[:SHOWN_CLASSES]
        return {
            "predicted": names[self.held_out.predicted[i]],
            "probabilities": {names[k]: float(row[k]) for k in leading},
        }


def pieces(text: str, words: Sequence[Word]) -> list[Piece]:
    """Return a text as it was written, in parts: words with their saliency, and the rest.

    What follows the last word was not read. Words that the text does not have, as attributes, are
    added.
    """
    peak = max(SMALL_DECREASE, *(abs(word.saliency) for word in words), 0.0)
    found, read = [], 0
    for word in words:
        start = text.find(word.text, read)
        if start >= 0:
            found.append(Piece(text[read:start]))
            read = start + len(word.text)
        else:
            found.append(Piece(" "))
        found.append(Piece(word.text, word.saliency / peak))
    return [piece for piece in (*found, Piece(text[read:])) if piece.text]


def leading_words(words: Sequence[Word], sign: int) -> list[str]:
    """Return the words, not marks, that matter most for the class (sign 1) or against it (-1)."""
    ranked = sorted(words, key=lambda word: -sign * word.saliency)
    leading = (word for word in ranked if sign * word.saliency > 0)
    return [word.text for word in leading if LETTER.search(word.text)][:SHOWN_WORDS]


def _card(explanation: Explanation) -> dict[str, Any]:
    """Return what a card says of an explanation; addresses of pictures are empty without them."""
    post, (image, heat) = explanation.post, _pictures(explanation)
    near = [listed(one.post, SMALL_PX) for one in explanation.neighbours[:SHOWN_NEIGHBOURS]]
    return {
        "id": post.id,
        "label": str(post.label),
        "explained": explanation.predicted,
        "pieces": pieces(post.text, explanation.words),
        "for": leading_words(explanation.words, 1),
        "against": leading_words(explanation.words, -1),
        "image": image,
        "heat": heat,
        "neighbours": near,
    }


def _pictures(explanation: Explanation) -> tuple[str, str]:
    if explanation.post.image is None or explanation.saliency is None:
        return "", ""
    picture = open_thumbnail(explanation.post.image, THUMBNAIL_PX)
    heat = heat_map(picture, explanation.saliency, explanation.method)
    return jpeg_address(picture), jpeg_address(heat)
