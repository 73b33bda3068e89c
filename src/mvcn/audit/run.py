"""All findings together: as a mapping for JSON, and as lines for a terminal."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from mvcn.audit.duplicates import (
    find_conflicting_labels,
    find_duplicate_groups,
    find_duplicates,
    find_leakage,
)
from mvcn.audit.faults import (
    find_encodings,
    find_faulty_images,
    find_mojibake,
    find_unusual_texts,
)
from mvcn.audit.findings import KINDS, AuditedPosts, Finding
from mvcn.audit.labels import (
    count_posts,
    find_contradictory,
    find_disagreement,
    find_imbalance,
    find_label_cues,
    find_label_order,
)

MARK = "mvcn audit"
"""What an audit of ours, JSON or page, holds near its beginning."""


def audit(audited: AuditedPosts, label_errors: bool = False) -> dict[str, Finding]:
    """Return the finding of each kind, in the order of `KINDS`.

    Args:
        audited: The posts.
        label_errors: Search for wrong labels, too. It takes the encoders and some minutes.

    Raises:
        DataError: Label errors are requested, but there are too few posts of a class.
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


def to_mapping(audited: AuditedPosts, findings: Mapping[str, Finding]) -> dict[str, Any]:
    """Return everything that was found, ready to be written as JSON."""
    content: dict[str, Any] = {"report": MARK, "counts": count_posts(audited)}
    for kind, finding in findings.items():
        about = {
            **asdict(KINDS[kind]),
            "severity": finding.severity or KINDS[kind].severity,
            "count": finding.count,
            "summary": finding.summary,
        }
        content[kind] = {**about, **finding.details}
    return content


def summary_lines(audited: AuditedPosts, findings: Mapping[str, Finding]) -> Iterator[str]:
    """Yield a headline and a line for each finding."""
    yield headline(audited)
    counts = count_posts(audited)
    numbers = {name: counts[f"without_{name}"] for name in ("label", "text", "image")}
    if missing := [f"{name}: {number:,}" for name, number in numbers.items() if number]:
        yield f"Without {', '.join(missing)}."
    for kind, finding in findings.items():
        severity = severity_of(kind, finding)
        about = f": {finding.summary}" if finding.summary and finding.count else ""
        yield f"{severity:<12}{finding.count:>7}  {KINDS[kind].title} [{kind}]{about}"


def headline(audited: AuditedPosts) -> str:
    """Return how many posts there are, and in which splits."""
    splits = [f"{split} {len(positions):,}" for split, positions in audited.splits.items()]
    inside = f" ({', '.join(splits)})" if splits else ""
    removed = sum(len(ids) for ids in audited.removed.values())
    left_out = f", {removed:,} removed by the dataset's rules" if removed else ""
    number = len(audited.posts)
    return f"{number:,} post{'' if number == 1 else 's'}{inside}{left_out}"


def severity_of(kind: str, finding: Finding) -> str:
    """Return how bad a finding is: its own severity or its kind's, unless nothing was found."""
    if finding.details.get("searched") is False:
        return "not searched"
    return (finding.severity or KINDS[kind].severity) if finding.count else "none"


def _label_errors(audited: AuditedPosts, requested: bool) -> Finding:
    if not requested:
        return Finding(0, {"searched": False})
    from mvcn.audit.label_errors import find_label_errors  # imports torch, which takes seconds

    return find_label_errors(audited)
