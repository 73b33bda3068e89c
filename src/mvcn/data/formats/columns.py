"""Finding the columns of a file that are the text, image, label, id and split of a post."""

import difflib
import logging
import re
import shlex
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, TypeAlias

from mvcn.data.formats.rows import repeated_name
from mvcn.data.split_names import split_of
from mvcn.errors import ConfigError, DataError, which_of
from mvcn.types import StoredImage

logger = logging.getLogger(__name__)

COLUMNS = ("id", "text", "image", "label", "text_label", "image_label", "attributes", "split")
ANNOTATIONS = ("label", "text_label", "image_label")
"""Columns that prediction ignores."""
MODALITIES = ("text", "image")
ALIASES: Mapping[str, tuple[str, ...]] = {
    "id": (
        *("ids", "tweet_id", "post_id", "uid", "uuid", "guid", "sample_id", "item_id", "row_id"),
        *("status_id", "review_id", "comment_id", "example_id", "message_id", "record_id", "idx"),
    ),
    "text": (
        *("texts", "txt", "tweet", "tweets", "tweet_text", "tweet_content", "tweet_body"),
        *("caption", "captions", "content", "contents", "sentence", "sentences", "title"),
        *("comment", "comments", "comment_text", "review", "reviews", "review_text", "body"),
        *("message", "message_text", "post", "post_text", "post_content", "post_body"),
        *("full_text", "text_content", "raw_text", "clean_text", "cleaned_text", "original_text"),
        *("description", "utterance", "document", "headline", "selftext", "news_text"),
        *("caption_text", "image_caption", "meme_text", "content_text", "text_body", "review_body"),
        *("comment_body", "post_message", "transcript", "statement", "phrase"),
    ),
    "image": (
        *("images", "img", "imgs", "image_path", "images_path", "image_paths", "img_path"),
        *("img_paths", "path_image", "path_img", "image_file", "image_files", "img_file"),
        *("image_filename", "img_filename", "image_file_name", "img_file_name", "image_filepath"),
        *("image_file_path", "image_name", "img_name", "filename", "filenames", "file_name"),
        *("photo", "photos", "photo_path", "photo_file", "picture", "pictures", "picture_path"),
        *("picture_file", "pic", "pics", "pic_path", "media", "media_path", "media_file"),
        *("picture_name", "photo_name", "pic_name", "media_name", "media_filename", "image_loc"),
        *("image_location", "img_loc", "image_src", "img_src", "screenshot", "poster", "thumbnail"),
        *("photo_filename", "picture_filename", "meme", "meme_path", "jpg", "jpeg", "png"),
    ),
    "label": (
        *("labels", "sentiment", "sentiments", "class", "classes", "category", "target"),
        *("gold_label", "gold", "class_name", "label_name", "class_label", "sentiment_label"),
        *("polarity", "emotion", "annotation", "y", "overall_sentiment", "airline_sentiment"),
        *("stance", "hateful", "is_hateful", "sarcasm", "is_sarcastic"),
    ),
    "split": ("splits", "subset", "fold", "set", "part", "partition", "data_split", "split_name"),
}
"""Our name of a column -> its aliases, ignoring case, spaces, ``_``, ``-`` and ``.``."""
IMAGE_ALIASES_BY_CONTENT = (
    *("path", "paths", "file", "files", "filepath", "file_path", "url", "urls", "link", "src"),
    *("image_url", "img_url", "image_link", "photo_url", "picture_url", "media_url", "image_id"),
    *("img_id", "attachment", "location", "key", "name"),
)
"""Aliases of the image column that are used only if the cells look like images."""
MIN_LIKENESS = 0.8
"""Minimum similarity of a column's name to one of ours for it to be a typing error."""
SEPARATED = re.compile(r"[,;:|^\t\"]")
"""Characters in the name of a column that show a wrong separator."""
MIN_SHARE = 0.5
"""Minimum share of cells that look like images in a column of images."""
MIN_WORDS = 2
MIN_LETTERS = 4
"""Of the longest word in a text of few words, and of a text in a script without spaces."""
IMAGE_NAME = re.compile(
    r"[^\r\n]{1,1000}\.(jpe?g|jpe|jfif|png|gif|webp|bmp|tiff?|avif|jp2)([?#]\S*)?", re.IGNORECASE
)
IMAGE_TEXTS = ("data:image/", "/9j/", "iVBOR", "R0lGOD", "UklGR")
"""First characters of images as base64 text."""
NAMED = 12

Sample: TypeAlias = Callable[[], Iterable[Mapping[str, Any]]]
"""Returns the cells of the first rows of a file; called only if names do not suffice."""


def check_names(columns: Mapping[str, str] | None) -> dict[str, str]:
    """Return `columns`, a mapping of our name of a column to its name in a file.

    Raises:
        ConfigError: An unknown name, or two of ours that are mapped to one column.
    """
    given = dict(columns or {})
    unknown = [name for name in given if name not in COLUMNS]
    if unknown:
        theirs = given[unknown[0]]
        is_swapped = theirs in COLUMNS
        hint = f"write {theirs}={unknown[0]}." if is_swapped else which_of(unknown[0], COLUMNS)
        raise ConfigError(f"'{unknown[0]}' cannot be mapped to a column: {hint}")
    repeated = repeated_name(filter(None, given.values()))
    if repeated is not None:
        raise ConfigError(
            f"Two names are mapped to the column '{repeated}': map only one of them to it."
        )
    return given


def is_known(name: str, ours: str) -> bool:
    """Return whether the name of a column is one of ours or an alias of it."""
    return _key(name) in set(map(_key, (ours, *ALIASES.get(ours, ()))))


def count_known_names(columns: Iterable[str]) -> int:
    """Return how many names of columns are ours or aliases."""
    known = set(map(_key, chain(COLUMNS, *ALIASES.values())))
    return sum(_key(name) in known for name in columns)


def find_columns(
    columns: Sequence[str],
    sample: Sample,
    where: str,
    *,
    given: Mapping[str, str] | None = None,
    remembered: Mapping[str, str] | None = None,
    unread: Collection[str] = (),
) -> dict[str, str]:
    """Return our name of each column -> its name in the file, "" for one that is not read.

    In order of precedence, a column is the one in `given`, the one in `remembered` if the file has
    it, the one with our name, or the only one with an alias in `ALIASES`.

    Args:
        columns: Names of the columns in the file.
        sample: Returns the first rows, to recognise cells with images and texts.
        where: Name of the file, for errors.
        given: Our name of a column -> its name in the file; "" to ignore it.
        remembered: As `given`, but not used for a column that the file does not have.
        unread: Our names of columns to ignore.

    Raises:
        ConfigError: See `check_names`.
        DataError: A given column is missing, two columns match, a name is nearly one of ours, or
            there is neither text nor image.
    """
    given = check_names(given)
    _require_given(given, columns, where)
    names = dict.fromkeys(COLUMNS, "") | given
    known = dict(remembered or {})
    ignored = {ours for ours, theirs in known.items() if not theirs} | {*given, *unread}
    searched = [ours for ours in COLUMNS if ours not in ignored]
    for ours, theirs in known.items():
        if ours in searched and theirs in columns and theirs not in names.values():
            names[ours] = theirs
    free = {name: _key(name) for name in columns if name.strip() and name not in names.values()}
    missing = [ours for ours in searched if not names[ours]]
    for ours in missing:
        names[ours] = _find(ours, free, sample, where)
        free.pop(names[ours], None)
    missing = [ours for ours in missing if not names[ours]]
    _require_well_spelt(missing, free, where)
    if not names["text"] and not names["image"]:
        raise DataError(
            f"{where} has neither a column 'text' nor 'image', only {', '.join(columns)[:80]!r}: "
            "rename its columns, say which to use with --columns text=NAME,image=NAME, or put a "
            "line of column names above the first row if there is none."
        )
    if free:
        _check_left_over(list(free), list(sample()), names, missing, where)
    return names


def log_columns(names: Mapping[str, str], columns: Sequence[str], where: str, layout: str) -> None:
    """Log how the columns of a file are read, and which are ignored."""
    named = {ours: theirs for ours, theirs in names.items() if theirs and theirs == theirs.strip()}
    read = ", ".join(f"{ours} from {theirs!r}" for ours, theirs in named.items())
    rest = [name for name in columns if name.strip() and name not in names.values()]
    more = f" and {len(rest) - NAMED} more" if len(rest) > NAMED else ""
    others = f"; not read: {', '.join(map(repr, rest[:NAMED]))}{more}" if rest else ""
    logger.info("%s%s: %s%s.", where, f" ({layout})" if layout else "", read, others)


def _find(ours: str, free: Mapping[str, str], sample: Sample, where: str) -> str:
    """Return the only column that matches one of our names; "" if there is none.

    Args:
        ours: One of `COLUMNS`.
        free: Name of each candidate -> its `_key`.
        sample: See `find_columns`.
        where: See `find_columns`.
    """
    if ours in free:
        return ours
    found = _of([ours], free) or _of(ALIASES.get(ours, ()), free)
    if ours == "image" and not found:
        by_content = _of(IMAGE_ALIASES_BY_CONTENT, free)
        found = [name for name in by_content if _share(name, sample(), _is_image) >= MIN_SHARE]
    if ours == "split":
        found = [name for name in found if _share(name, sample(), _is_split) > 0]
    if len(found) > 1:
        *others, last = map(repr, found[:NAMED])
        raise DataError(
            f"{where}: {', '.join(others)} and {last} could each be the column '{ours}': choose "
            f"one with --columns {shlex.quote(f'{ours}={found[0]}')}."
        )
    return found[0] if found else ""


def _of(aliases: Iterable[str], free: Mapping[str, str]) -> list[str]:
    keys = set(map(_key, aliases))
    return [name for name, key in free.items() if key in keys]


def _key(name: str) -> str:
    return re.sub(r"[\s_.-]+", "", name).casefold()


def _require_given(given: Mapping[str, str], columns: Sequence[str], where: str) -> None:
    for ours, theirs in given.items():
        if theirs and theirs not in columns:
            close = difflib.get_close_matches(theirs, columns, n=1)
            there = ", ".join(columns)[:80]
            hint = f"did you mean {close[0]!r}?" if close else f"there are {there!r}."
            raise DataError(f"{where} has no column {theirs!r} for '{ours}': {hint}")


def _require_well_spelt(missing: Sequence[str], free: Iterable[str], where: str) -> None:
    """Raise a DataError if the name of a column is nearly one of ours."""
    lower = {name.lower(): name for name in free if SEPARATED.search(name) is None}
    slips = {}
    for ours in missing:
        cutoff = 1.0 if ours == "id" else MIN_LIKENESS  # else "id" would match "uid"
        if similar := difflib.get_close_matches(ours, lower, n=1, cutoff=cutoff):
            slips[ours] = lower.pop(similar[0])
    if slips:
        pairs = ",".join(f"{ours}={theirs}" for ours, theirs in slips.items())
        found = [f"no column '{ours}', but one called {theirs!r}" for ours, theirs in slips.items()]
        it = "it" if len(slips) == 1 else "them"
        raise DataError(
            f"{where} has {', '.join(found)}: rename {it}, or add --columns {shlex.quote(pairs)}."
        )


def _check_left_over(
    free: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    names: Mapping[str, str],
    missing: Sequence[str],
    where: str,
) -> None:
    """Raise a DataError if an unread column seems to be the missing texts or images.

    A further column of images is named in a warning.
    """
    images = [name for name in free if _share(name, rows, _is_image) >= MIN_SHARE]
    others = [name for name in free if name not in images]
    texts = [name for name in others if _share(name, rows, _is_text) >= MIN_SHARE]
    for ours, left in (("image", images), ("text", texts)):
        if ours in missing and left:
            mapping = shlex.quote(f"{ours}={left[0]}")
            raise DataError(
                f"{where} has no column called '{ours}', but {left[0]!r} may be it: use it with "
                f"--columns {mapping}, or read no {ours}s with --columns {ours}=."
            )
    for name in images:
        logger.warning(
            "%s: the column %r seems to hold images, but %r is read: to change that, add "
            "--columns image=NAME.",
            *(where, name, names["image"] or names["text"]),
        )


def _is_image(cell: Any) -> bool:
    if isinstance(cell, Mapping):
        return cell.get("bytes") is not None or _is_image(cell.get("path"))
    if isinstance(cell, str):
        text = cell.strip()
        return text.startswith(IMAGE_TEXTS) or IMAGE_NAME.fullmatch(text) is not None
    return isinstance(cell, bytes | StoredImage)


def _is_text(cell: Any) -> bool:
    """Return whether a cell is a text rather than a name or a date, in any script."""
    if not isinstance(cell, str):
        return False
    words = [word for word in cell.split() if any(map(str.isalpha, word))]
    unspaced = sum(unicodedata.category(character) == "Lo" for character in cell)
    is_long = len(words) > MIN_WORDS or max(map(len, words), default=0) >= MIN_LETTERS
    return (len(words) >= MIN_WORDS and is_long) or unspaced >= MIN_LETTERS


def _is_split(cell: Any) -> bool:
    return isinstance(cell, str) and split_of(cell) is not None


def _share(name: str, rows: Iterable[Mapping[str, Any]], is_one: Callable[[Any], bool]) -> float:
    """Return the share of non-empty cells of a column for which `is_one` is true."""
    cells = [cell for row in rows if (cell := row.get(name)) not in (None, "")]
    return sum(map(is_one, cells)) / len(cells) if cells else 0.0
