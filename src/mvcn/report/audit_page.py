"""The findings of an audit as one page."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from mvcn.audit.findings import (
    MARK,
    AuditedPosts,
    Example,
    Finding,
    by_severity,
    count_posts,
    headline,
    sentences_about_absent,
)
from mvcn.audit.kinds import KINDS
from mvcn.report.html import write_page
from mvcn.report.posts import listed

MAX_EXAMPLES = 24
"""Of a kind; the JSON file has all of them."""
MAX_POSTS = 4
"""Of an example."""
THUMBNAIL_PX = 160


def write_audit(audited: AuditedPosts, findings: Mapping[str, Finding], path: Path) -> None:
    """Write the page to `path`."""
    title = headline(audited)
    content = {
        "mark": MARK,
        "title": f"Audit: {title}",
        "headline": title,
        "verdict": _verdict(findings),
        "classes": _class_table(audited),
        "sections": _sections(audited, findings),
        "absent": [*sentences_about_absent(findings)],
    }
    write_page(path, "audit.html.jinja", content)


def _verdict(findings: Mapping[str, Finding]) -> str:
    """Return what to repair, errors first."""
    found: dict[str, list[str]] = {"error": [], "warning": []}
    for kind, severity in by_severity(findings):
        if severity in found:
            found[severity].append(f"{KINDS[kind].title.lower()} ({findings[kind].count:,})")
    if not any(found.values()):
        return "Nothing was found that has to be repaired."
    begins = {"error": "Repair", "warning": "then look at" if found["error"] else "Look at"}
    return (
        "; ".join(f"{begins[one]} {', '.join(kinds)}" for one, kinds in found.items() if kinds)
        + "."
    )


def _sections(audited: AuditedPosts, findings: Mapping[str, Finding]) -> list[dict[str, Any]]:
    splits = audited.splits_of_posts()
    card = cache(lambda i: _card(audited, splits[i], i))
    return [
        {
            "kind": kind,
            "title": KINDS[kind].title,
            "explanation": KINDS[kind].explanation,
            "severity": severity,
            "count": finding.count,
            "summary": finding.summary,
            "words": finding.details.get("cues", []),
            "pairs": finding.details.get("pairs_text_image", {}),
            "examples": [_example(one, card) for one in finding.examples[:MAX_EXAMPLES]],
            "ids": _ids_alone(finding),
            "more": max(0, len(finding.examples or finding.details.get("ids", [])) - MAX_EXAMPLES),
        }
        for kind, severity in by_severity(findings)
        for finding in [findings[kind]]
    ]


def _example(example: Example, card: Callable[[int], dict[str, Any]]) -> dict[str, Any]:
    shown = [card(i) for i in example.positions[:MAX_POSTS]]
    return {"note": example.note, "posts": shown, "more": len(example.positions) - len(shown)}


def _card(audited: AuditedPosts, splits: tuple[str, ...], i: int) -> dict[str, Any]:
    facts = audited.facts[i]
    post = audited.posts[i]
    is_faulty = facts is not None and facts.problem is not None
    shown = listed(replace(post, image=None) if is_faulty else post, THUMBNAIL_PX)
    return {**shown, "split": ", ".join(splits), "has_image": post.image is not None}


def _ids_alone(finding: Finding) -> list[str]:
    """Return the first ids of a finding without examples, such as of removed posts."""
    ids = finding.details.get("ids", [])
    return ids[:MAX_EXAMPLES] if isinstance(ids, list) and not finding.examples else []


def _class_table(audited: AuditedPosts) -> dict[str, Any]:
    """Return the number of posts by class (rows) and split (columns)."""
    counts = count_posts(audited)
    splits = list(audited.with_all)
    rows = {
        name: [counts["classes"][split][name] for split in splits] for name in audited.class_names
    }
    return {"splits": splits, "rows": rows, "posts": [counts["posts"][split] for split in splits]}
