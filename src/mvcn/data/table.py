"""A user's own posts: a CSV, TSV, JSON lines or Parquet file with one post a row."""

import difflib
import shlex
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mvcn.data.csv_rows import read_csv_rows, read_tsv_rows
from mvcn.data.image_cells import ImageFolder, ImagePlace, image_of_cell
from mvcn.data.json_rows import read_json_rows
from mvcn.data.parquet_rows import read_parquet_rows
from mvcn.data.parts import keep_parts
from mvcn.data.rows import Row, repeated_name
from mvcn.errors import ConfigError, DataError
from mvcn.types import Corpus, Post

ROW_READERS: dict[str, Callable[[Path, Mapping[str, str]], Iterator[Row]]] = {
    ".csv": lambda path, _: read_csv_rows(path),
    ".tsv": lambda path, _: read_tsv_rows(path),
    ".jsonl": lambda path, names: read_json_rows(path, names["image"]),
    ".ndjson": lambda path, names: read_json_rows(path, names["image"]),
    ".parquet": lambda path, names: read_parquet_rows(path, names["image"], set(names.values())),
}
"""How a file's name ends -> what reads its rows, given our name of each column -> theirs."""

NOT_A_LABEL = ("nan", "<na>")
MAX_LABEL_CHARACTERS = 200
COLUMNS = ("id", "text", "image", "label", "text_label", "image_label", "attributes", "split")
MIN_LIKENESS = 0.8
"""Of a column's name to one of ours, from which on it must be a slip of the keyboard."""
KINDS_OF_CELLS = {
    dict: "an object",
    list: "a list",
    float: "a number with a fraction",
    int: "a number",
    bool: "true or false",
    bytes: "bytes",
}


def read_table(
    path: Path,
    *,
    splits: Collection[str] | None = None,
    columns: Mapping[str, str] | None = None,
    images: Path | None = None,
) -> Corpus:
    """Read a file with one post a row, in its order; the kind of file is in its name.

    Columns are ``text`` and ``image``, of which one may lack, and optionally ``label``, ``id``,
    ``text_label``, ``image_label``, ``attributes`` (words for what is in the image) and ``split``;
    others are ignored. An image is a path inside the file's folder, base64 text, or bytes;
    without one the post has no image. Images inside Parquet and JSON lines are read when they are
    needed, base64 text in CSV at once. Without ids, a post's id is the number of its row. Classes
    are the labels in alphabetical order, numbers by size; a post may lack a label.

    Args:
        path: CSV, TSV (``.tsv``), JSON lines (``.jsonl``, ``.ndjson``) or Parquet file.
        splits: Which posts to return, by their split, where any row has one. Those of a row
            without one, or with one that is none of ours, are then left out and counted.
        columns: Our name of a column -> its name in the file.
        images: What image paths are relative to, and must stay inside; else the file's folder.

    Raises:
        ConfigError: `columns` names a column that is not one of ours, or one of theirs twice.
        DataError: Not such a file; names the file and, where there is one, the row.
    """
    names = column_names(columns)
    reader = ROW_READERS.get(path.suffix.lower())
    if reader is None and path.is_dir():
        raise DataError(
            f"{path} is a folder, not a table: say by --data what it holds, such as image-folder "
            "or prepared."
        )
    if reader is None:
        raise DataError(
            f"{path} is no table that can be read: give a file whose name ends in "
            f"{', '.join(ROW_READERS)}."
        )
    rows = reader(path, names)
    if images is not None and not images.is_dir():
        raise DataError(f"There is no folder {images} of images: correct --images.")
    folder = ImageFolder(path.parent if images is None else images)
    return corpus_of_rows(rows, str(path), folder, names, splits, required=columns or ())


def column_names(columns: Mapping[str, str] | None) -> dict[str, str]:
    """Return our name of each column -> its name in the source.

    Raises:
        ConfigError: A name that is not one of ours, or one of theirs for two of ours.
    """
    given = dict(columns or {})
    unknown = [name for name in given if name not in COLUMNS]
    if unknown:
        raise ConfigError(
            f"There is no column '{unknown[0]}' to map: ours are {', '.join(COLUMNS)}."
        )
    twice = repeated_name(given.values())
    if twice is not None:
        raise ConfigError(f"Two of our columns are mapped to '{twice}': name another for one.")
    taken = set(given.values())
    return {name: given.get(name, "" if name in taken else name) for name in COLUMNS}


def corpus_of_rows(
    rows: Iterable[Row],
    source: str,
    folder: ImageFolder,
    names: Mapping[str, str],
    splits: Collection[str] | None = None,
    required: Collection[str] = (),
) -> Corpus:
    """Make posts of rows that have columns.

    Args:
        rows: In their order.
        source: Where they come from, for errors.
        folder: What image paths are relative to.
        names: Our name of each column -> theirs, as `column_names` gives it.
        splits: Which posts to return, where any row has a split.
        required: Columns of ours that must be there.

    Raises:
        DataError: A row or a column is not as it should be.
    """
    posts: list[Post] = []
    where_of: dict[str, str] = {}
    labels: dict[str, str] = {}
    classes: set[str] = set()
    there: dict[str, None] = {}  # rows of JSON lines need not have the same ones
    for row in rows:
        there |= dict.fromkeys(map(str, row.cells))
        post = post_of_row(row, names, folder)
        if post.id in where_of:
            raise DataError(
                f"{row.where}: id {post.id[:80]!r} was given before ({where_of[post.id]}), "
                "so change one of them."
            )
        where_of[post.id] = row.where
        for label in (post.label, post.text_label, post.image_label):
            if label is not None:
                labels.setdefault(label, row.where)
        classes |= set() if post.label is None else {post.label}
        posts.append(post)
    if not where_of:
        raise DataError(f"{source} has no rows below its header: add one row a post.")
    require_columns(there, source, names, required)
    _require_distinct(labels)
    return keep_parts(Corpus(posts, _in_order(classes)), splits, source)


def require_columns(
    columns: Collection[str], source: str, names: Mapping[str, str], required: Collection[str]
) -> None:
    """Raise a DataError where columns are missing, or nearly called as ours.

    Args:
        columns: That are there.
        source: Where, for errors.
        names: Our name of each column -> theirs, as `column_names` gives it.
        required: Columns of ours that must be there.
    """
    there = ", ".join(columns)[:80]
    for ours in required:
        if not names[ours] or names[ours] not in columns:
            close = difflib.get_close_matches(names[ours], columns, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {there!r}."
            raise DataError(f"{source} has no column {names[ours]!r} for '{ours}': {hint}")
    _require_well_spelt(columns, source, names)
    if not {names["text"], names["image"]}.intersection(columns):
        raise DataError(
            f"{source} has neither a column 'text' nor 'image', only {there!r}: "
            "rename its columns, or map them by --columns text=...,image=..."
        )


def _require_well_spelt(columns: Collection[str], source: str, names: Mapping[str, str]) -> None:
    """Raise a DataError where a column is nearly called as one of ours: all posts would lack it."""
    free = {name.lower(): name for name in columns if name not in names.values()}
    slips = {}
    for ours in COLUMNS:
        cutoff = 1.0 if ours == "id" else MIN_LIKENESS  # else it would be taken for uid
        similar = difflib.get_close_matches(ours, free, n=1, cutoff=cutoff)
        if names[ours] == ours and ours not in columns and similar:
            slips[ours] = free.pop(similar[0])
    if slips:
        pairs = ",".join(f"{ours}={theirs}" for ours, theirs in slips.items())
        lacks = [f"no column '{ours}', but one called {theirs!r}" for ours, theirs in slips.items()]
        it = "it" if len(slips) == 1 else "them"
        raise DataError(
            f"{source} has {', '.join(lacks)}: rename {it}, or map {it} by --columns "
            f"{shlex.quote(pairs)}."
        )


def post_of_row(row: Row, names: Mapping[str, str], folder: ImagePlace) -> Post:
    """Return the post that a row holds.

    Args:
        row: One row of a source.
        names: Our name of each column that is read -> theirs.
        folder: What image paths are relative to.

    Raises:
        DataError: A cell is not as it should be; names the row.
    """
    # A column without a name, as that of a data frame's index, is nobody's.
    cells = {
        ours: row.cells[theirs] for ours, theirs in names.items() if theirs and theirs in row.cells
    }
    return Post(
        id=_id(cells["id"], row) if "id" in cells else str(row.number),
        text=_text(cells.get("text"), row),
        image=image_of_cell(cells.get("image"), row, folder),
        label=_label(cells.get("label"), "label", row),
        text_label=_label(cells.get("text_label"), "text_label", row),
        image_label=_label(cells.get("image_label"), "image_label", row),
        attributes=_words(cells.get("attributes"), row),
        split=_split(cells.get("split")),
    )


def _id(cell: Any, row: Row) -> str:
    value = str(cell).strip() if type(cell) in (str, int) else ""
    if not value:
        what = _kind_of(cell) if cell is not None and type(cell) is not str else "empty"
        raise DataError(f"{row.where}: 'id' is {what}: make it text or a whole number.")
    return value


def _text(cell: Any, row: Row) -> str:
    if cell is None or isinstance(cell, str):
        return cell or ""
    raise DataError(f"{row.where}: 'text' is {_kind_of(cell)}, but must be text.")


def _label(cell: Any, column: str, row: Row) -> str | None:
    """Return a label as text: a number and true or false are names, too."""
    if type(cell) is bool:
        return str(cell).lower()
    if cell is None or type(cell) in (str, int):
        name = str("" if cell is None else cell).strip()
        _require_name(name, column, row)
        return name or None
    raise DataError(
        f"{row.where}: '{column}' is {_kind_of(cell)}, but must be text or a whole number."
    )


def _require_name(label: str, column: str, row: Row) -> None:
    """Raise a DataError for what is a slip, not the name of a class."""
    if label.lower() in NOT_A_LABEL:
        raise DataError(
            f"{row.where}: '{column}' is {label!r}, as programs write a value that lacks: leave "
            "the cell empty."
        )
    is_long = len(label) > MAX_LABEL_CHARACTERS
    if is_long or _has_hidden_characters(label):
        what = "too long a text" if is_long else "a text with hidden characters"
        raise DataError(
            f"{row.where}: '{column}' is {what} to name a class ({label[:40]!r}): correct it, or "
            "map the right column by --columns."
        )


def _has_hidden_characters(label: str) -> bool:
    """Tell line breaks and the like; joiners inside a word belong to how it is written."""
    kinds = [unicodedata.category(character) for character in label]
    if not kinds:
        return False
    return not {"Cc", "Zl", "Zp"}.isdisjoint(kinds) or "Cf" in (kinds[0], kinds[-1])


def _kind_of(cell: Any) -> str:
    return KINDS_OF_CELLS.get(type(cell), f"of the type {type(cell).__name__}")


def _words(cell: Any, row: Row) -> tuple[str, ...]:
    if isinstance(cell, str):
        return tuple(cell.split())
    if cell is None or (isinstance(cell, list) and all(isinstance(w, str) for w in cell)):
        return tuple(cell or ())
    raise DataError(f"{row.where}: 'attributes' must be words.")


def _split(cell: Any) -> str | None:
    """Return the part by the name that the source gives it."""
    return str("" if cell is None else cell).strip() or None


def _require_distinct(labels: Mapping[str, str]) -> None:
    """Raise a DataError where two labels differ in case or blanks alone."""
    seen: dict[str, str] = {}
    for label, where in labels.items():
        other = seen.setdefault(" ".join(label.split()).casefold(), label)
        if other != label:
            raise DataError(
                f"{where}: label {label[:80]!r} differs from {other[:80]!r} ({labels[other]}) "
                "in case or blanks alone: write them alike."
            )


def _in_order(names: Collection[str]) -> tuple[str, ...]:
    """Return class names in alphabetical order; whole numbers by size."""
    if all(n.removeprefix("-").isdecimal() for n in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))
