"""Images as base64 text: in cells of tables, and in requests to the service."""

import base64
import re
from urllib.parse import unquote

DATA_URL = re.compile(
    r"data:(?:(?P<image>image/[\w.+-]++)|[\w.+-]++/[\w.+-]++)?+(?:;[\w.+-]++=[\w.+-]++)*+;base64,",
    re.IGNORECASE,
)
"""Of an image, of any other kind, or of a kind that is not said."""
BASE64 = re.compile(r"[A-Za-z0-9+/_\s-]++=*+\s*+")
"""Possessive, so that a long text of blanks takes no more time than another."""
FROM_URL_SAFE = str.maketrans("-_", "+/")
SHORTEST_BASE64 = 64
"""Characters; no image is smaller."""
SIGNATURES = (
    *(b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*"),
    *(b"\0\0\1\0", b"P5", b"P6", b"\xffO\xff"),
)
"""How image files begin."""
BOXES = (b"ftyp", b"jP  ")
"""What AVIF and JPEG 2000 have instead, behind four bytes."""


def is_base64_image(text: str) -> bool:
    """Tell base64 text of an image, and a data URL of one, from a path.

    A data URL that does not say that it is an image is one where its content begins as one.
    """
    prefix = DATA_URL.match(text)
    if prefix is not None and prefix["image"]:
        return True
    if prefix is not None:
        text = unquote(text[prefix.end() :][: 3 * SHORTEST_BASE64])
    elif len(text) < SHORTEST_BASE64 or not BASE64.fullmatch(text):
        return False
    beginning = re.sub(r"[\s=]", "", text[:SHORTEST_BASE64]).translate(FROM_URL_SAFE)
    return _begins_as_image(base64.b64decode(beginning[: len(beginning) // 4 * 4]))


def decode_base64_image(text: str) -> bytes:
    """Return the image file that base64 text or a data URL holds.

    Line breaks and other blanks are ignored, and ``-`` and ``_`` are read as ``+`` and ``/``
    (RFC 4648, section 5). The padding may be absent where the content begins as image files do;
    else nearly every short path would be base64 text.

    Raises:
        ValueError: It is not base64 text.
    """
    prefix = DATA_URL.match(text.lstrip())
    letters = text if prefix is None else unquote(text.lstrip()[prefix.end() :])
    letters = "".join(letters.split()).translate(FROM_URL_SAFE)
    absent = 0 if "=" in letters else -len(letters) % 4
    content = base64.b64decode(letters + "=" * absent, validate=True)
    is_image = _begins_as_image(content)
    if absent and not is_image:
        raise ValueError("Incorrect padding")
    if prefix is not None and not prefix["image"] and not is_image:
        raise ValueError("No image")
    return content


def _begins_as_image(content: bytes) -> bool:
    return content.startswith(SIGNATURES) or content[4:8] in BOXES
