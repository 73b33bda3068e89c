"""The findings as one page for a browser, which needs no other file and asks no host."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader
from PIL import Image

from mvcn.audit.findings import KINDS, AuditedPosts, Example, Finding
from mvcn.audit.labels import WHOLE, count_posts
from mvcn.audit.report import MARK, headline, severity_of
from mvcn.data.images import already_warned, open_image
from mvcn.errors import BadImageError
from mvcn.files import atomic_write

TEMPLATE = "page.html.jinja"
MAX_EXAMPLES = 24
"""Of a kind; the JSON report has all."""
MAX_POSTS = 4
"""Of an example."""
MAX_CHARACTERS = 400
"""Of a text."""
THUMBNAIL_PX = 160
JPEG_QUALITY = 70


def write_page(path: Path, audited: AuditedPosts, findings: Mapping[str, Finding]) -> None:
    """Write the page to `path`."""
    loader = PackageLoader("mvcn.audit", "")
    template = Environment(loader=loader, autoescape=True, trim_blocks=True).get_template(TEMPLATE)
    content = template.render(
        mark=MARK,
        headline=headline(audited),
        classes=_class_table(audited),
        sections=_sections(audited, findings),
        max_posts=MAX_POSTS,
    )
    # A lone surrogate, which JSON can hold, has no UTF-8.
    with atomic_write(path) as file:
        file.write(content.encode("utf-8", "replace").decode("utf-8"))


@dataclass(slots=True)
class _Cards:
    """What is shown of posts; an image is read when it is first needed."""

    audited: AuditedPosts
    parts: Sequence[tuple[str, ...]]
    thumbnails: dict[int, str] = field(default_factory=dict)

    def example(self, example: Example) -> dict[str, Any]:
        """Return the posts of an example, as many as are shown."""
        shown = example.positions[:MAX_POSTS]
        return {
            "note": example.note,
            "posts": [self.card(i) for i in shown],
            "more": len(example.positions) - len(shown),
        }

    def card(self, i: int) -> dict[str, Any]:
        """Return what is shown of one post."""
        post, text = self.audited.posts[i], self.audited.posts[i].text
        long = len(text) > MAX_CHARACTERS
        return {
            "id": post.id,
            "part": ", ".join(self.parts[i]),
            "label": post.label,
            "text": f"{text[:MAX_CHARACTERS]}\u2026" if long else text,
            "has_image": post.image is not None,
            "thumbnail": self.thumbnail(i),
        }

    def thumbnail(self, i: int) -> str:
        """Return a small JPEG as a data address; empty where there is none."""
        if i not in self.thumbnails:
            self.thumbnails[i] = self._read(i)
        return self.thumbnails[i]

    def _read(self, i: int) -> str:
        image, facts = self.audited.posts[i].image, self.audited.facts[i]
        if image is None or (facts is not None and facts.problem is not None):
            return ""
        try:
            picture = open_image(image, THUMBNAIL_PX, already_warned)
        except BadImageError:
            return ""
        picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BILINEAR)
        picture.save(stream := BytesIO(), "JPEG", quality=JPEG_QUALITY)
        return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def _sections(audited: AuditedPosts, findings: Mapping[str, Finding]) -> list[dict[str, Any]]:
    cards = _Cards(audited, audited.parts_of_posts())
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
            "examples": [cards.example(one) for one in finding.examples[:MAX_EXAMPLES]],
            "ids": _ids_alone(finding),
            "more": max(0, len(finding.examples or finding.details.get("ids", [])) - MAX_EXAMPLES),
        }
        for kind, finding in findings.items()
    ]


def _ids_alone(finding: Finding) -> list[str]:
    """Return the first ids of a finding whose posts are not there to be shown."""
    ids = finding.details.get("ids", [])
    return ids[:MAX_EXAMPLES] if isinstance(ids, list) and not finding.examples else []


def _class_table(audited: AuditedPosts) -> dict[str, Any]:
    """Return the number of posts by class (rows) and part (columns)."""
    counts = count_posts(audited)
    parts = [WHOLE, *audited.parts]
    rows = {name: [counts["classes"][part][name] for part in parts] for name in audited.class_names}
    return {"parts": parts, "rows": rows, "posts": [counts["posts"][part] for part in parts]}
