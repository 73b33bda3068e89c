"""Halves of surrogate pairs, which are no characters and which no encoder of text accepts."""

import re
from typing import NamedTuple

SURROGATE = re.compile("[\ud800-\udfff]")
REPLACEMENT = "\ufffd"


class ReplacedText(NamedTuple):
    """A text without surrogates."""

    text: str
    num_replaced: int
    """Lone surrogates that are U+FFFD now."""


def replace_surrogates(text: str) -> ReplacedText:
    r"""Return a text whose surrogate pairs are characters and whose lone surrogates are U+FFFD.

    Lone surrogates come from JSON such as ``"\ud83d"``, from texts that were cut in the middle
    of a character, and from bytes of command lines and file names that are not UTF-8.
    """
    if text.isascii() or SURROGATE.search(text) is None:
        return ReplacedText(text, 0)
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return ReplacedText(whole, whole.count(REPLACEMENT) - text.count(REPLACEMENT))
