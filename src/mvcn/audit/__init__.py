"""Faults of a dataset, found before they become results."""

from mvcn.audit.findings import (
    KINDS,
    MARK,
    AuditedPosts,
    Finding,
    read_audited_posts,
    summary_lines,
    to_mapping,
)
from mvcn.audit.labels import (
    find_contradictory,
    find_disagreement,
    find_imbalance,
    find_label_cues,
    find_label_order,
)
from mvcn.audit.posts import (
    find_conflicting_labels,
    find_duplicate_groups,
    find_duplicates,
    find_encodings,
    find_faulty_images,
    find_leakage,
    find_mojibake,
    find_unusual_texts,
)

__all__ = [
    "KINDS",
    "MARK",
    "AuditedPosts",
    "Finding",
    "audit",
    "read_audited_posts",
    "summary_lines",
    "to_mapping",
]


def audit(audited: AuditedPosts, label_errors: bool = False) -> dict[str, Finding]:
    """Return the finding of each kind, in the order of `KINDS`.

    Args:
        audited: The posts.
        label_errors: Also search for wrong labels, which runs the encoders and takes minutes.

    Raises:
        DataError: Label errors are requested, but a class has too few posts.
    """
    groups = find_duplicate_groups(audited)
    found = {
        "contradictory": find_contradictory(audited),
        "encodings": find_encodings(audited),
        "mojibake": find_mojibake(audited),
        "texts": find_unusual_texts(audited),
        "images": find_faulty_images(audited),
        "duplicates": find_duplicates(audited, groups),
        "leakage": find_leakage(audited, groups),
        "conflicting_labels": find_conflicting_labels(audited, groups),
        "disagreement": find_disagreement(audited),
        "imbalance": find_imbalance(audited),
        "label_order": find_label_order(audited),
        "label_cues": find_label_cues(audited),
        "label_errors": _label_errors(audited, label_errors),
    }
    return {kind: found[kind] for kind in KINDS}


def _label_errors(audited: AuditedPosts, requested: bool) -> Finding:
    if not requested:
        return Finding(0, {"searched": False})
    from mvcn.audit.label_errors import find_label_errors  # imports torch, which takes seconds

    return find_label_errors(audited)
