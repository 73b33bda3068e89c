"""Posts as the pages list them: the beginning of the text, and a small image."""

from typing import Any

from mvcn.data.images import open_thumbnail
from mvcn.errors import BadImageError
from mvcn.report.html import jpeg_address
from mvcn.types import ImageReference, Post

MAX_CHARACTERS = 400
"""Of a text."""


def listed(post: Post, size_px: int) -> dict[str, Any]:
    """Return id, label, text and thumbnail of a post; the thumbnail may be empty.

    Args:
        post: The post.
        size_px: Longest side of the thumbnail.
    """
    text = post.text.strip()
    return {
        "id": post.id,
        "label": post.label,
        "text": f"{text[:MAX_CHARACTERS]}\u2026" if len(text) > MAX_CHARACTERS else text,
        "has_image": post.image is not None,
        "thumbnail": thumbnail(post.image, size_px),
    }


def thumbnail(image: ImageReference | None, size_px: int) -> str:
    """Return a small image as a data address, empty if there is none or it cannot be read."""
    if image is None:
        return ""
    try:
        return jpeg_address(open_thumbnail(image, size_px))
    except BadImageError:
        return ""
