"""All findings about the posts of a dataset."""

from mvcn.audit import labels, posts
from mvcn.audit.findings import AuditedPosts, Finding
from mvcn.audit.kinds import KINDS


def audit(audited: AuditedPosts, label_errors: bool = False) -> dict[str, Finding]:
    """Return the finding of each kind, in the order of `KINDS`.

    Args:
        audited: The posts.
        label_errors: Also search for wrong labels, which runs the encoders and takes minutes.

    Raises:
        DataError: Label errors are requested, but a class has too few posts.
    """
    groups = posts.find_duplicate_groups(audited)
    found = {
        "contradictory": labels.find_contradictory(audited),
        "encodings": posts.find_encodings(audited),
        "mojibake": posts.find_mojibake(audited),
        "texts": posts.find_unusual_texts(audited),
        "images": posts.find_faulty_images(audited),
        "duplicates": posts.find_duplicates(audited, groups),
        "leakage": posts.find_leakage(audited, groups),
        "conflicting_labels": posts.find_conflicting_labels(audited, groups),
        "disagreement": labels.find_disagreement(audited),
        "imbalance": labels.find_imbalance(audited),
        "label_order": labels.find_label_order(audited),
        "label_cues": labels.find_label_cues(audited),
        "label_errors": _label_errors(audited, label_errors),
    }
    return {kind: found[kind] for kind in KINDS}


def _label_errors(audited: AuditedPosts, requested: bool) -> Finding:
    if not requested:
        return Finding(0, {"searched": False})
    from mvcn.audit.label_errors import find_label_errors  # imports torch, which takes seconds

    return find_label_errors(audited)
