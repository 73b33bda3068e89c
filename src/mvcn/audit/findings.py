"""What an audit works on and what it finds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mvcn.types import ImageFacts, Post

PARTS = ("train", "dev", "test")

Severity = Literal["information", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault, as it is explained to people."""

    title: str
    explanation: str
    """One sentence: what is counted, and why it matters."""
    severity: Severity


KINDS: dict[str, Kind] = {
    "contradictory": Kind(
        "Contradictory posts",
        "The data set's own rules remove these posts since labels of text and image exclude each "
        "other: scores hold for the other posts alone.",
        "information",
    ),
    "encodings": Kind(
        "Texts not stored in UTF-8",
        "These texts were decoded from another encoding: who reads them as UTF-8 or Latin-1 "
        "trains on garbled characters.",
        "information",
    ),
    "mojibake": Kind(
        "Garbled texts",
        "Texts that were decoded with the wrong encoding, or hold replacement characters.",
        "warning",
    ),
    "texts": Kind(
        "Unusual texts",
        "Texts that are empty, very short, very long, or nothing but addresses and mentions.",
        "warning",
    ),
    "images": Kind(
        "Faulty images",
        "Images that are missing, broken, without their last bytes, blank, tiny, or far from "
        "square.",
        "error",
    ),
    "duplicates": Kind(
        "Duplicates",
        "Posts whose text or image equals, or nearly equals, that of another post: they count "
        "more than once.",
        "warning",
    ),
    "leakage": Kind(
        "Leakage between parts",
        "Posts of a later part (dev, test) with a duplicate in an earlier one: scores on them show "
        "memory, not skill.",
        "error",
    ),
    "conflicting_labels": Kind(
        "Conflicting labels",
        "Posts with equal texts or images but different labels: no model can be right on all.",
        "error",
    ),
    "disagreement": Kind(
        "Text and image labels that differ",
        "Posts whose text and image were labelled differently: one modality alone misleads.",
        "information",
    ),
    "imbalance": Kind(
        "Imbalanced classes",
        "Classes that are rare, that lack in a part, or whose shares differ between parts.",
        "warning",
    ),
    "label_order": Kind(
        "Parts in the order of their labels",
        "Posts with equal labels follow each other: batches that are not shuffled then hold one "
        "class, and batch statistics give it away.",
        "warning",
    ),
    "label_cues": Kind(
        "Words that tell the label",
        "Single words that are much more frequent in one class than in the others: a model may "
        "learn them alone.",
        "information",
    ),
    "label_errors": Kind(
        "Suspected label errors",
        "Posts whose label is improbable to a classifier that was trained on the other posts.",
        "warning",
    ),
}
"""Key in the JSON report -> what it is. The order is that of all reports."""


@dataclass(frozen=True, slots=True)
class AuditedPosts:
    """The posts of a source with the parts that they belong to."""

    posts: Sequence[Post]
    class_names: tuple[str, ...]
    facts: Sequence[ImageFacts | None]
    """What is known of each post's image; None where it has none."""
    parts: Mapping[str, Sequence[int]]
    """Name of a part -> positions of its posts, in the part's own order; earlier parts first."""
    removed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    encodings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def ids(self, positions: Iterable[int]) -> list[str]:
        """Return the ids of the posts at these positions."""
        return [self.posts[i].id for i in positions]

    def parts_of_posts(self) -> list[tuple[str, ...]]:
        """Return the parts that each post is in: none, one, or by mistake several."""
        names: list[tuple[str, ...]] = [()] * len(self.posts)
        for part, positions in self.parts.items():
            for i in positions:
                names[i] += (part,)
        return names


@dataclass(frozen=True, slots=True)
class Example:
    """Posts that show a finding, side by side."""

    positions: tuple[int, ...]
    note: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one kind."""

    count: int
    """How many posts (or words, or parts) are concerned."""
    details: Mapping[str, Any]
    """All of it, as it goes into the JSON report."""
    examples: Sequence[Example] = ()
    summary: str = ""
    """Half a sentence with the numbers that matter, for people."""
    severity: Severity | None = None
    """Where it is not that of the kind."""
