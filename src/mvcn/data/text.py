"""Texts: codecs of files, surrogates, and invisible characters."""

import codecs
import logging
import re
import unicodedata
from pathlib import Path
from typing import NamedTuple

from mvcn.errors import ConfigError, DataError, count_of

logger = logging.getLogger(__name__)

SURROGATE = re.compile("[\ud800-\udfff]")
REPLACEMENT = "\ufffd"
ODD_WHITESPACE = re.compile(r"^\s+|\s+$|\s{2,}")
"""Leading, trailing and repeated whitespace."""
INVISIBLE_KINDS = frozenset(("Cc", "Cf", "Zl", "Zp", "Zs"))
"""Categories of Unicode: controls, formats such as joiners and byte-order marks, and whitespace."""
INVISIBLE = frozenset("\u034f\u115f\u1160\u2800\u3164\ufe0e\ufe0f\uffa0")
"""Invisible characters of other categories: fillers, the empty Braille pattern, and variation
selectors."""
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is its prefix
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte-order mark -> codec."""
ARCHIVE = b"PK\3\4"
SHOWN_CHARACTERS = 60
LONG_RUN = 2.5
"""Mean length of runs of bytes above 127 from which a text is not in a Latin alphabet."""
MIN_SHARE = 0.8
"""Minimum share of characters in the codec's alphabet for the codec to be suggested."""
ALPHABETS = {
    "cp932": ("HIRAGANA", "KATAKANA", "CJK UNIFIED", "IDEOGRAPHIC", "FULLWIDTH"),
    "cp949": ("HANGUL SYLLABLE",),
    "cp1251": ("CYRILLIC SMALL",),
    "gb18030": ("CJK UNIFIED", "IDEOGRAPHIC", "FULLWIDTH"),
}
"""Codec -> prefixes of the Unicode names of most characters in its texts."""


def marked_codec(content: bytes) -> str | None:
    """Return the codec of a leading byte-order mark; None without one."""
    return next((codec for mark, codec in MARKS if content.startswith(mark)), None)


def decode(content: bytes, path: Path | str, encoding: str | None = None) -> tuple[str, str]:
    """Return the text of a file without byte-order mark, and the codec used.

    Args:
        content: Bytes of the file.
        path: Its name, for errors; a string if `content` is a single line.
        encoding: A Python codec; None for that of the byte-order mark, else UTF-8.

    Raises:
        ConfigError: There is no such codec.
        DataError: The content is not in that encoding, or contains NUL; names the line and a
            codec that fits.
    """
    if content.startswith(ARCHIVE):
        raise DataError(
            f"{path} is an Excel workbook or an archive: rename it to end in .xlsx, or unpack it."
        )
    codec = encoding or marked_codec(content) or "utf-8"
    try:
        text = content.decode(codec)
    except UnicodeDecodeError as error:
        raise DataError(_undecodable(content, path, codec, error)) from error
    except (LookupError, UnicodeError, ValueError) as error:
        raise ConfigError(
            f"--encoding {codec} is not a known text encoding ({error}): use a name such as cp1252 "
            "or gb18030."
        ) from error
    if "\0" in text:
        raise DataError(_holding_nul(content, path, codec, text))
    if encoding is not None and _is_utf8(content) and text != content.decode("utf-8-sig"):
        logger.warning(
            "%s is valid UTF-8, but is read as %s, which changes its letters: leave --encoding out "
            "if that is wrong.",
            *(path, codec),
        )
    return text.removeprefix("\ufeff"), codec


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _undecodable(content: bytes, path: Path | str, codec: str, error: UnicodeDecodeError) -> str:
    position = error.start
    where = path if isinstance(path, str) else f"{path}, line {_line_of(content, position)}"
    what = f"byte {position} ({content[position]:#04x}) is not {_title(codec)}"
    own = marked_codec(content) or ("utf-8" if _is_utf8(content) else None)
    if own == codec:
        return f"{path} starts as {_title(codec)}, but is truncated or damaged: save it again."
    if own is not None:
        return f"{where}: {what}, but the file is {_title(own)}: leave --encoding out."
    others = [line for line in content.splitlines() if not line.isascii() and _is_utf8(line)]
    if codec == "utf-8" and others:
        lines = count_of(len(others), "other line")
        return f"{where}: {what}, unlike the letters of {lines}: correct that line."
    guess = _guess(content)
    if guess is None:
        return (
            f"{where}: {what}: save the file as UTF-8, or pass its encoding, as in --encoding "
            "cp1252."
        )
    line = _line_at(content, position).decode(guess, errors="replace")
    return f"{where}: {what}; {_suggestion(guess, 'line', line)}"


def _holding_nul(content: bytes, path: Path | str, codec: str, text: str) -> str:
    where = f"{path}, line {text[: text.index(chr(0))].count(chr(10)) + 1} contains a NUL byte"
    for guess, first in (("utf-16-le", 1), ("utf-16-be", 0)):
        zeros = content[first::2].count(0)
        if codec == "utf-8" and zeros > len(content) / 4:
            line = content.decode(guess, errors="replace").split("\n")[0]
            return f"{where}; {_suggestion(guess, 'first line', line)}"
    return f"{where}: remove it, or save the file as UTF-8."


def _suggestion(codec: str, what: str, line: str) -> str:
    shown = line.strip()[:SHOWN_CHARACTERS]
    return f"read as {codec}, the {what} is {shown!r}: if that is right, add --encoding {codec}."


def _guess(content: bytes) -> str | None:
    """Return a codec that decodes the content into letters of its alphabet, if any."""
    runs = [len(run) for run in re.findall(rb"[\x80-\xff]+", content)]
    is_latin = sum(runs) < LONG_RUN * len(runs)
    codecs_to_try = (
        ("cp1252", "latin-1") if is_latin else ("cp932", "cp949", "cp1251", "gb18030", "cp1252")
    )
    for codec in codecs_to_try:
        try:
            text = content.decode(codec)
        except UnicodeDecodeError:
            continue
        if codec not in ALPHABETS or _share(text, codec) >= MIN_SHARE:
            return codec
    return None


def _share(text: str, codec: str) -> float:
    """Return the share of non-ASCII characters that belong to the codec's alphabet."""
    beyond = [unicodedata.name(character, "") for character in text if character > "\x7f"]
    if codec == "cp932" and not any(name.startswith(("HIRAGANA", "KATAKANA L")) for name in beyond):
        return 0.0
    return sum(name.startswith(ALPHABETS[codec]) for name in beyond) / max(1, len(beyond))


def _line_of(content: bytes, position: int) -> int:
    return len((content[:position] + b".").splitlines())


def _line_at(content: bytes, position: int) -> bytes:
    begin = max(content.rfind(b"\n", 0, position), content.rfind(b"\r", 0, position)) + 1
    return re.split(rb"[\r\n]", content[begin:], maxsplit=1)[0]


def _title(codec: str) -> str:
    return codec.upper() if codec.startswith("utf") else codec


class ReplacedText(NamedTuple):
    """A text without surrogates."""

    text: str
    num_replaced: int
    """Number of lone surrogates replaced by U+FFFD."""


def replace_surrogates(text: str) -> ReplacedText:
    r"""Return a text with surrogate pairs combined and lone surrogates replaced by U+FFFD.

    Lone surrogates come from JSON such as ``"\ud83d"``, from truncated characters, and from
    command lines and file names that are not UTF-8.
    """
    if text.isascii() or SURROGATE.search(text) is None:
        return ReplacedText(text, 0)
    complete = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return ReplacedText(complete, complete.count(REPLACEMENT) - text.count(REPLACEMENT))


def has_text(text: str) -> bool:
    """Return whether a text has a visible character."""
    return any(
        character not in INVISIBLE and unicodedata.category(character) not in INVISIBLE_KINDS
        for character in text
    )
