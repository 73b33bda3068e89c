"""Blanks that a reader of a text does not see, and some tokenizers drop."""

import re

ODD_BLANKS = re.compile(r"^\s+|\s+$|\s{2,}")
"""Leading, trailing and repeated blanks."""


def has_text(text: str) -> bool:
    """Tell whether a text says anything: blanks alone count as no text."""
    return bool(text.strip())
