"""Texts as the tokenizer reads them: whitespace is normalized or marked, emoji are named."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import accumulate, pairwise
from typing import NamedTuple

from mvcn.data.text import ODD_WHITESPACE, has_text

WHITESPACE_MARK = " \u00b7 "
"""A middle dot, which editors use, too, to make whitespace visible."""
JOINERS = "\ufe0e\ufe0f\u200d"
"""Variation selectors and the zero-width joiner, which may follow an emoji."""
MAX_REPEATS = 3
"""How often an emoji that is repeated is named: names of twenty would displace all other words."""

UNITS = re.compile(r"(?:https?://|www\.)\S*[\w/]|[@#]\w+")
"""Web addresses, mentions and hashtags."""


class Part(NamedTuple):
    """A piece of a text."""

    text: str
    emoji: str = ""
    """What the text names."""


class EmojiName(NamedTuple):
    """A name in a text."""

    start: int
    emoji: str


class Unit(NamedTuple):
    """A web address, a mention or a hashtag in a text."""

    start: int
    end: int


@dataclass(frozen=True)
class VisibleText:
    """A text in which some emoji are replaced by their names.

    Args:
        parts: Names, and what is between them.
    """

    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """The text for the tokenizer."""
        return "".join(part.text for part in self.parts)

    @cached_property
    def names(self) -> dict[int, EmojiName]:
        """Position of each character of a name -> the name."""
        ends = accumulate((len(part.text) for part in self.parts), initial=0)
        return {
            position: EmojiName(start, part.emoji)
            for part, (start, end) in zip(self.parts, pairwise(ends), strict=True)
            if part.emoji
            for position in range(start, end)
        }

    @cached_property
    def units(self) -> dict[int, Unit]:
        """Position of each character of a web address, a mention or a hashtag -> all of it."""
        spans = (Unit(*found.span()) for found in UNITS.finditer(self.text))
        return {position: span for span in spans for position in range(*span)}


def mark_whitespace(text: str) -> str:
    """Return a text with a middle dot for leading, trailing and repeated whitespace."""
    return ODD_WHITESPACE.sub(WHITESPACE_MARK, text) if has_text(text) else text


def normalize_whitespace(text: str) -> str:
    """Return a text with single spaces for whitespace, and none at its ends."""
    return " ".join(text.split())


def name_emoji(text: str, is_known: Callable[[str], bool]) -> VisibleText:
    """Replace emoji by their English names, as words of their own.

    The names are those of the Unicode Common Locale Data Repository, as the library `emoji` has
    them. Sequences have one name: skin tones, flags, and families joined by zero-width joiners.

    Args:
        text: Any text.
        is_known: Returns whether an emoji is kept as it is.
    """
    parts: list[Part] = []
    read, repeats, previous = 0, 0, ""
    for start, end, emoji, name in _find_emoji(text):
        if is_known(emoji):
            continue
        repeats = repeats + 1 if (start, emoji) == (read, previous) else 1
        if repeats > MAX_REPEATS:
            parts[-1] = parts[-1]._replace(emoji=parts[-1].emoji + emoji)
        else:
            _append(parts, Part(text[read:start]))
            _append(parts, Part(name, emoji))
        read, previous = end, emoji
    _append(parts, Part(text[read:]))
    return VisibleText(tuple(parts))


def _find_emoji(text: str) -> Iterator[tuple[int, int, str, str]]:
    """Yield start, end, characters and name of each emoji."""
    if text.isascii() or _emoji_characters().isdisjoint(text):
        return
    import emoji

    for found in emoji.emoji_list(text):
        start, end = found["match_start"], found["match_end"]
        name = emoji.EMOJI_DATA[found["emoji"]]["en"].strip(":").replace("_", " ")
        yield start, end + _leading(text[end:], JOINERS), found["emoji"], name


@cache
def _emoji_characters() -> frozenset[str]:
    """Return all characters of emoji that are more than joiners or ASCII."""
    import emoji  # takes a while to import, which few texts need

    return frozenset(
        character for one in emoji.EMOJI_DATA for character in one if not character.isascii()
    ) - frozenset(JOINERS)


def _leading(text: str, characters: str) -> int:
    """Return how many of the characters a text begins with."""
    return len(text) - len(text.lstrip(characters))


def _append(parts: list[Part], part: Part) -> None:
    """Append a part, after a space where a name would run into other letters."""
    if not part.text:
        return
    touches = parts and not (parts[-1].text[-1].isspace() or part.text[0].isspace())
    if touches and (part.emoji or parts[-1].emoji):
        parts.append(Part(" "))
    parts.append(part)
