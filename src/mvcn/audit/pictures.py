"""Faults of images."""

from mvcn.audit.findings import AuditedPosts, Finding
from mvcn.audit.texts import by_fault
from mvcn.types import ImageFacts

BLANK_CONTRAST = 1.0
"""Pictures whose grey values deviate less from their mean, of 0 to 255, show nothing."""
MIN_SIDE_PX = 32
"""Pictures with a shorter side are tiny: encoders see them blurred beyond recognition."""
MAX_ASPECT_RATIO = 5.0
"""Pictures that are longer in proportion are squeezed or cropped to almost nothing."""


def find_faulty_images(audited: AuditedPosts) -> Finding:
    """Return posts by what is wrong with their images; one image may have several faults."""
    found: dict[str, list[int]] = {
        "missing": [],
        "broken": [],
        "truncated": [],
        "blank": [],
        "tiny": [],
        "extreme_aspect_ratio": [],
    }
    notes = {}
    for i, facts in enumerate(audited.facts):
        if facts is None:
            continue
        for fault in faults_of_image(facts):
            found[fault].append(i)
        remark = facts.problem or facts.truncation
        if remark is not None:
            notes[i] = remark
    finding = by_fault(audited, found, notes)
    reasons = {audited.posts[i].id: reason for i, reason in notes.items()}
    details = {**finding.details, "reasons": reasons}
    return Finding(finding.count, details, finding.examples, finding.summary)


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
