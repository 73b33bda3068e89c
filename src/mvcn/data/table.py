"""A user's own posts: a CSV table with one post a row."""

import csv
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from mvcn.errors import DataError, reason_of
from mvcn.types import Corpus, Post

MAX_CELL_CHARACTERS = 1_000_000
WEB_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


@dataclass(frozen=True, slots=True)
class _Row:
    cells: dict[str, str]
    number: int
    """1 is the first row below the header."""
    where: str
    """File, row and line, for errors."""


def read_table(path: Path) -> Corpus:
    """Read a comma-separated UTF-8 table with a header; one post a row, in the table's order.

    Columns are ``text`` and ``image``, of which one may lack, and optionally ``label``, ``id``,
    ``text_label`` and ``image_label``; others are ignored. Image paths are relative to the
    table's folder, and an empty one means that the post has no image. Without ids, a post's id is
    the number of its row. Classes are the labels in alphabetical order; without labels there are
    none.

    Raises:
        DataError: Not such a table; names the file and, where there is one, the row.
    """
    posts: dict[str, Post] = {}
    for row in _read_rows(path):
        post = _parse_post(row, path.parent)
        if post.id in posts:
            raise DataError(f"{row.where}: id {post.id!r} was given before, so change one of them.")
        posts[post.id] = post
    if not posts:
        raise DataError(f"{path} has no rows below its header: add one row a post.")
    labels = {post.label for post in posts.values() if post.label is not None}
    return Corpus(list(posts.values()), tuple(sorted(labels)))


def _read_rows(path: Path) -> Iterator[_Row]:
    """Yield the rows below the header, each cell under its column's name."""
    numbered = enumerate(_read_cells(path))
    header = _parse_header(next(numbered)[1][1], path)
    for number, (line, cells) in numbered:
        where = f"{path}, row {number} (line {line})"
        if len(cells) != len(header):
            raise DataError(
                f"{where} has {len(cells)} cell(s), but the header has {len(header)}: "
                "quote the cells that contain commas."
            )
        yield _Row(dict(zip(header, cells, strict=True)), number, where)


def _read_cells(path: Path) -> list[tuple[int, list[str]]]:
    """Return line number and cells of the header and of each row; blank lines do not count."""
    # strict: a quote that is never closed would otherwise swallow the rest of the table
    reader = csv.reader(StringIO(_read_text(path), newline=""), strict=True)
    rows: list[tuple[int, list[str]]] = []
    line = 1
    try:
        with _long_cells():
            for cells in reader:
                if cells:
                    rows.append((line, cells))
                line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{path}, row {len(rows)} (line {line}) is not valid CSV ({error}): mend it."
        ) from error
    if not rows:
        raise DataError(f"{path} is empty: it needs a header such as id,text,image,label.")
    return rows


@contextmanager
def _long_cells() -> Iterator[None]:
    """Let the `csv` module read long texts; its limit belongs to the process, so put it back."""
    usual = csv.field_size_limit(MAX_CELL_CHARACTERS)
    try:
        yield
    finally:
        csv.field_size_limit(usual)


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        raise DataError(
            f"Table {path} cannot be read ({reason_of(error)}): give a CSV file."
        ) from error
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}, line {_line_of(content, error.start)}: byte {error.start} "
            f"({content[error.start]:#04x}) is not UTF-8: save the table as UTF-8."
        ) from error
    if "\0" in text:
        line = _line_of(content, content.index(b"\0"))
        raise DataError(f"{path}, line {line} contains a NUL byte: save the table as UTF-8 CSV.")
    return text.removeprefix("\ufeff")


def _line_of(content: bytes, position: int) -> int:
    return len((content[:position] + b".").splitlines())


def _parse_header(cells: list[str], path: Path) -> list[str]:
    header = [name.strip() for name in cells]
    for name in header:
        if name and header.count(name) > 1:
            raise DataError(f"{path} has the column {name!r} twice: rename one of them.")
    if not {"text", "image"}.intersection(header):
        raise DataError(
            f"{path} has neither a column 'text' nor 'image', only {', '.join(header)[:80]!r}: "
            "name the columns in its first row, separated by commas."
        )
    return header


def _parse_post(row: _Row, folder: Path) -> Post:
    return Post(
        id=_filled(row, "id") if "id" in row.cells else str(row.number),
        text=row.cells.get("text", ""),
        image=_image_path(row, folder),
        label=row.cells.get("label", "").strip() or None,
        text_label=row.cells.get("text_label", "").strip() or None,
        image_label=row.cells.get("image_label", "").strip() or None,
    )


def _filled(row: _Row, column: str) -> str:
    value = row.cells[column].strip()
    if not value:
        raise DataError(f"{row.where}: '{column}' is empty: fill it in or delete the row.")
    return value


def _image_path(row: _Row, folder: Path) -> Path | None:
    name = row.cells.get("image", "").strip()
    if WEB_ADDRESS.match(name):
        raise DataError(
            f"{row.where}: image {name[:80]!r} is a web address: download it and give its path."
        )
    return folder / name if name else None
