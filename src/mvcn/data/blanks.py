"""Blanks that a reader of a text does not see, and some tokenizers drop."""

import re
import unicodedata

ODD_BLANKS = re.compile(r"^\s+|\s+$|\s{2,}")
"""Leading, trailing and repeated blanks."""


INVISIBLE_KINDS = frozenset(("Cc", "Cf", "Zl", "Zp", "Zs"))
"""Categories of Unicode: controls, formats such as joiners and byte-order marks, and blanks."""
INVISIBLE = frozenset("\u034f\u115f\u1160\u2800\u3164\ufe0e\ufe0f\uffa0")
"""Characters of other categories that show nothing alone: fillers, an empty Braille pattern, and
marks that change the character before them."""


def has_text(text: str) -> bool:
    """Tell whether a text says anything: characters that nobody sees alone count as no text."""
    return any(
        character not in INVISIBLE and unicodedata.category(character) not in INVISIBLE_KINDS
        for character in text
    )
