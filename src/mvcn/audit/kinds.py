"""The kinds of faults that an audit finds, which ``mvcn audit --help`` lists."""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["information", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault, with its explanation for users."""

    title: str
    explanation: str
    """One sentence: what is counted, and why it matters."""
    severity: Severity


KINDS: dict[str, Kind] = {
    "contradictory": Kind(
        "Contradictory posts",
        "The dataset's own rules remove these posts because the labels of text and image exclude "
        "each other: scores do not cover them.",
        "information",
    ),
    "encodings": Kind(
        "Texts not stored in UTF-8",
        "These texts were decoded from another encoding: read as UTF-8 or Latin-1, they would be "
        "garbled.",
        "information",
    ),
    "mojibake": Kind(
        "Garbled texts",
        "Texts that were decoded with the wrong encoding or contain replacement characters.",
        "warning",
    ),
    "texts": Kind(
        "Unusual texts",
        "Texts that are empty, very short, very long, or nothing but addresses and mentions.",
        "warning",
    ),
    "images": Kind(
        "Faulty images",
        "Images that are missing, broken, truncated, blank, tiny, or far from square.",
        "error",
    ),
    "duplicates": Kind(
        "Duplicates",
        "Posts with the same or nearly the same text or image as another post: they count more "
        "than once.",
        "warning",
    ),
    "leakage": Kind(
        "Leakage between splits",
        "Posts of a later split (dev, test) with a duplicate in an earlier one: scores on them "
        "reward memorization.",
        "error",
    ),
    "conflicting_labels": Kind(
        "Conflicting labels",
        "Posts with equal texts or images but different labels: no model gets all of them right.",
        "error",
    ),
    "disagreement": Kind(
        "Text and image labels that differ",
        "Posts whose text and image have different labels: one modality alone is misleading.",
        "information",
    ),
    "imbalance": Kind(
        "Imbalanced classes",
        "Classes that are rare, missing in a split, or whose shares differ between splits.",
        "warning",
    ),
    "label_order": Kind(
        "Splits in the order of their labels",
        "Posts are grouped by label: batches that are not shuffled then hold a single class, and "
        "batch statistics give it away.",
        "warning",
    ),
    "label_cues": Kind(
        "Words that give the label away",
        "Single words that are much more frequent in one class than in the others: a model may "
        "learn only them.",
        "information",
    ),
    "label_errors": Kind(
        "Suspected label errors",
        "Posts whose label is improbable to a classifier trained on other posts.",
        "warning",
    ),
}
"""Key in the JSON file -> kind, in the order of all outputs."""
