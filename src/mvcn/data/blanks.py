"""Blanks that a reader of a text does not see, and some tokenizers drop."""

import re

ODD_BLANKS = re.compile(r"^\s+|\s+$|\s{2,}")
"""Leading, trailing and repeated blanks."""
