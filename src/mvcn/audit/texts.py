"""Faults of texts."""

import re
from collections.abc import Mapping, Sequence

import ftfy
from ftfy.badness import is_bad

from mvcn.audit.findings import AuditedPosts, Example, Finding
from mvcn.data.near_duplicates import WEB_ADDRESS

REPLACEMENT_CHARACTER = "\ufffd"
LETTER_OR_DIGIT = re.compile(r"\w")
MENTION = re.compile(r"(?<!\w)@\w+|\bRT\b")
SHORT_CHARACTERS = 10
"""Texts with fewer letters and digits, without addresses and mentions, are very short."""
LONG_CHARACTERS = 1000
MAX_NAMED = 3
"""Posts that a summary names; the report has them all."""
MAX_ID_CHARACTERS = 40
"""Texts with more are very long: text encoders cut them."""


def find_encodings(audited: AuditedPosts) -> Finding:
    """Return the posts whose text was not stored in UTF-8."""
    position = {post.id: i for i, post in enumerate(audited.posts)}
    examples = [
        Example((position[post_id],), encoding)
        for encoding, ids in audited.encodings.items()
        for post_id in ids
        if post_id in position
    ]
    count = sum(len(ids) for ids in audited.encodings.values())
    ids = {encoding: list(ids) for encoding, ids in audited.encodings.items()}
    return Finding(count, {"ids": ids}, examples, ", ".join(audited.encodings))


def find_mojibake(audited: AuditedPosts) -> Finding:
    """Return garbled texts with what they would be if their encoding were mended.

    A text is garbled if ftfy's heuristic finds characters in it that rarely stand together except
    where UTF-8 was read as something else, or if it holds a replacement character (U+FFFD).
    """
    garbled, replaced, examples = [], [], []
    for i, post in enumerate(audited.posts):
        if post.text.isascii():
            continue
        if REPLACEMENT_CHARACTER in post.text:
            replaced.append(post.id)
            examples.append(Example((i,), "holds replacement characters"))
        elif is_bad(post.text):
            text = ftfy.fix_encoding(post.text)
            mended = None if text == post.text else text
            garbled.append({"id": post.id, "text": post.text, "mended": mended})
            note = "no way to mend it is known" if mended is None else f"mended: {mended}"
            examples.append(Example((i,), note))
    details = {"garbled": garbled, "replacement_character": replaced}
    summary = f"{len(replaced)} with replacement characters" if replaced else ""
    return Finding(len(examples), details, examples, summary)


def find_unusual_texts(audited: AuditedPosts) -> Finding:
    """Return posts by what is unusual in their texts."""
    found: dict[str, list[int]] = {"empty": [], "no_words": [], "very_short": [], "very_long": []}
    for i, post in enumerate(audited.posts):
        fault = _fault(post.text)
        if fault is not None:
            found[fault].append(i)
    return by_fault(audited, found)


def by_fault(
    audited: AuditedPosts,
    found: Mapping[str, Sequence[int]],
    notes: Mapping[int, str] | None = None,
) -> Finding:
    """Return the finding that lists positions under the names of their faults.

    Args:
        audited: The posts.
        found: Name of a fault -> positions of the posts that have it.
        notes: Position -> what to say of the post in place of the fault's name.
    """
    notes = notes or {}
    examples = [
        Example((i,), notes.get(i, fault.replace("_", " ")))
        for fault, positions in found.items()
        for i in positions
    ]
    count = len({i for positions in found.values() for i in positions})
    details = {fault: audited.ids(positions) for fault, positions in found.items()}
    parts = [_count(fault, ids) for fault, ids in details.items() if ids]
    return Finding(count, details, examples, ", ".join(parts))


def _count(fault: str, ids: Sequence[str]) -> str:
    """Return how many posts have a fault, and which, where they are few."""
    named = f" ({', '.join(post_id[:MAX_ID_CHARACTERS] for post_id in ids)})"
    return f"{len(ids)} {fault.replace('_', ' ')}{named if len(ids) <= MAX_NAMED else ''}"


def _fault(text: str) -> str | None:
    if not text.strip():
        return "empty"
    length = len(LETTER_OR_DIGIT.findall(MENTION.sub(" ", WEB_ADDRESS.sub(" ", text))))
    if length == 0:
        return "no_words"
    if length < SHORT_CHARACTERS:
        return "very_short"
    return "very_long" if length > LONG_CHARACTERS else None
