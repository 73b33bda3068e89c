"""The findings of an audit as one page."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from mvcn.audit.findings import (
    MARK,
    AuditedPosts,
    Example,
    Finding,
    count_posts,
    headline,
    severity_of,
)
from mvcn.audit.kinds import KINDS
from mvcn.data.images import open_thumbnail
from mvcn.errors import BadImageError
from mvcn.report.html import jpeg_address, write_page

MAX_EXAMPLES = 24
"""Of a kind; the JSON file has all of them."""
MAX_POSTS = 4
"""Of an example."""
MAX_CHARACTERS = 400
"""Of a text."""
THUMBNAIL_PX = 160


def write_audit(audited: AuditedPosts, findings: Mapping[str, Finding], path: Path) -> None:
    """Write the page to `path`."""
    title = headline(audited)
    content = {
        "mark": MARK,
        "title": f"Audit: {title}",
        "headline": title,
        "classes": _class_table(audited),
        "sections": _sections(audited, findings),
    }
    write_page(path, "audit.html.jinja", content)


def _sections(audited: AuditedPosts, findings: Mapping[str, Finding]) -> list[dict[str, Any]]:
    splits = audited.splits_of_posts()
    card = cache(lambda i: _card(audited, splits[i], i))
    return [
        {
            "kind": kind,
            "title": KINDS[kind].title,
            "explanation": KINDS[kind].explanation,
            "severity": severity_of(kind, finding),
            "count": finding.count,
            "summary": finding.summary,
            "words": finding.details.get("cues", []),
            "pairs": finding.details.get("pairs_text_image", {}),
            "examples": [_example(one, card) for one in finding.examples[:MAX_EXAMPLES]],
            "ids": _ids_alone(finding),
            "more": max(0, len(finding.examples or finding.details.get("ids", [])) - MAX_EXAMPLES),
        }
        for kind, finding in findings.items()
    ]


def _example(example: Example, card: Callable[[int], dict[str, Any]]) -> dict[str, Any]:
    shown = [card(i) for i in example.positions[:MAX_POSTS]]
    return {"note": example.note, "posts": shown, "more": len(example.positions) - len(shown)}


def _card(audited: AuditedPosts, splits: tuple[str, ...], i: int) -> dict[str, Any]:
    post, text = audited.posts[i], audited.posts[i].text
    return {
        "id": post.id,
        "split": ", ".join(splits),
        "label": post.label,
        "text": f"{text[:MAX_CHARACTERS]}\u2026" if len(text) > MAX_CHARACTERS else text,
        "has_image": post.image is not None,
        "thumbnail": _thumbnail(audited, i),
    }


def _thumbnail(audited: AuditedPosts, i: int) -> str:
    """Return a small image as a data address, empty if there is none or it cannot be read."""
    image, facts = audited.posts[i].image, audited.facts[i]
    if image is None or (facts is not None and facts.problem is not None):
        return ""
    try:
        return jpeg_address(open_thumbnail(image, THUMBNAIL_PX))
    except BadImageError:
        return ""


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
