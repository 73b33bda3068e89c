"""Faults of texts and images, post by post."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import ftfy
from ftfy.badness import is_bad

from mvcn.audit.findings import AuditedPosts, Example, Finding
from mvcn.data.near_duplicates import WEB_ADDRESS
from mvcn.types import ImageFacts

REPLACEMENT_CHARACTER = "\ufffd"
LETTER_OR_DIGIT = re.compile(r"\w")
MENTION = re.compile(r"(?<!\w)@\w+|\bRT\b")
SHORT_CHARACTERS = 10
"""Texts with fewer letters and digits, without addresses and mentions, are very short."""
LONG_CHARACTERS = 1000
"""Texts with more are very long: text encoders truncate them."""
MAX_NAMED = 3
"""Posts that a summary names; the JSON has them all."""
MAX_ID_CHARACTERS = 40
"""Of an id in a summary."""
BLANK_CONTRAST = 1.0
"""Pictures whose grey values deviate less from their mean, of 0 to 255, show nothing."""
MIN_SIDE_PX = 32
"""Pictures with a shorter side are tiny: encoders see them blurred beyond recognition."""
IMAGE_FAULTS = ("missing", "broken", "truncated", "blank", "tiny", "extreme_aspect_ratio")
MAX_ASPECT_RATIO = 5.0
"""Pictures that are longer in proportion are squeezed or cropped to almost nothing."""


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
    """Return garbled texts with what they would be if their encoding were fixed.

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
            fixed = None if text == post.text else text
            garbled.append({"id": post.id, "text": post.text, "fixed": fixed})
            note = "no way to fix it is known" if fixed is None else f"fixed: {fixed}"
            examples.append(Example((i,), note))
    details = {"garbled": garbled, "replacement_character": replaced}
    summary = f"{len(replaced)} with replacement characters" if replaced else ""
    return Finding(len(examples), details, examples, summary)


def find_unusual_texts(audited: AuditedPosts) -> Finding:
    """Return posts by what is unusual in their texts."""
    found: dict[str, list[int]] = {"empty": [], "no_words": [], "very_short": [], "very_long": []}
    for i, post in enumerate(audited.posts):
        fault = _fault_of_text(post.text)
        if fault is not None:
            found[fault].append(i)
    return _by_fault(audited, found)


def find_faulty_images(audited: AuditedPosts) -> Finding:
    """Return posts by what is wrong with their images; one image may have several faults."""
    found: dict[str, list[int]] = {fault: [] for fault in IMAGE_FAULTS}
    notes = {}
    for i, facts in enumerate(audited.facts):
        if facts is None:
            continue
        for fault in faults_of_image(facts):
            found[fault].append(i)
        remark = facts.problem or facts.truncation
        if remark is not None:
            notes[i] = remark
    finding = _by_fault(audited, found, notes)
    reasons = {audited.posts[i].id: reason for i, reason in notes.items()}
    return replace(finding, details={**finding.details, "reasons": reasons})


def faults_of_image(facts: ImageFacts) -> list[str]:
    """Return the names of an image's faults."""
    if facts.problem is not None:
        return ["broken" if facts.digest else "missing"]
    shorter, longer = sorted((facts.width_px, facts.height_px))
    is_fault = {
        "truncated": facts.truncation is not None,
        "blank": facts.contrast < BLANK_CONTRAST,
        "tiny": shorter < MIN_SIDE_PX,
        "extreme_aspect_ratio": longer > MAX_ASPECT_RATIO * shorter,
    }
    return [name for name, found in is_fault.items() if found]


def _fault_of_text(text: str) -> str | None:
    if not text.strip():
        return "empty"
    length = len(LETTER_OR_DIGIT.findall(MENTION.sub(" ", WEB_ADDRESS.sub(" ", text))))
    if length == 0:
        return "no_words"
    if length < SHORT_CHARACTERS:
        return "very_short"
    return "very_long" if length > LONG_CHARACTERS else None


def _by_fault(
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
    counts = [_count(fault, ids) for fault, ids in details.items() if ids]
    return Finding(count, details, examples, ", ".join(counts))


def _count(fault: str, ids: Sequence[str]) -> str:
    """Return how many posts have a fault, and which, where they are few."""
    named = f" ({', '.join(post_id[:MAX_ID_CHARACTERS] for post_id in ids)})"
    return f"{len(ids)} {fault.replace('_', ' ')}{named if len(ids) <= MAX_NAMED else ''}"
