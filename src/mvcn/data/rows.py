"""Rows of a file of posts, whatever its format: cells by the name of their column."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvcn.errors import DataError, reason_of
from mvcn.files import require_allowed
from mvcn.types import StoredImage

MAX_CELL_CHARACTERS = 20_000_000
"""Room for an image as base64 text."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file."""

    cells: Mapping[str, Any]
    number: int
    """1 is the first row."""
    where: str
    """File, row and line, for errors."""
    image: StoredImage | None = None
    """How to read the image again later, where the cell itself holds it."""


def repeated_name(names: Iterable[str]) -> str | None:
    """Return the first name that comes a second time, None if there is none."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def read_bytes(path: Path, kind: str) -> bytes:
    """Return a file's content.

    Raises:
        DataError: There is no such regular file, or it cannot be read.
    """
    require_file(path, kind)
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"Table {path} cannot be read ({reason_of(error)}): give a {kind} file."
        ) from error


def require_file(path: Path, kind: str) -> None:
    """Raise a DataError unless there is a regular file: a named pipe would block for ever."""
    require_allowed(path, DataError, "Table")
    try:
        if path.is_file():
            return
        reason = why_no_file(path)
    except (OSError, ValueError) as error:
        reason = reason_of(error)
    raise DataError(f"Table {path} cannot be read ({reason}): give a {kind} file.")


def why_no_file(path: Path) -> str:
    """Return what a path is that is no regular file: the inside of a bracket."""
    if path.exists():
        return "it is a folder or a device"
    return "it is a link that leads nowhere" if path.is_symlink() else "it does not exist"
