"""Files that are there whole or not at all, and never in the place of somebody else's."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from mvcn.errors import RunError

HEAD_CHARACTERS = 500
PARTIAL = ".partial"
"""How the name of a file ends that is not whole yet."""


def require_place_for(path: Path) -> None:
    """Raise a RunError unless a file could be written there: for before the work that fills it."""
    if not path.parent.is_dir():
        raise RunError(f"There is no folder {path.parent} to write {path.name} to: make it first.")
    if path.is_dir():
        raise RunError(f"{path} is a folder: name a file to write to.")
    if path.is_symlink() and not path.exists():
        raise RunError(f"{path} is a link that leads nowhere: name another file.")
    target = path.resolve()
    if not os.access(path if is_special(path) else target.parent, os.W_OK):
        raise RunError(f"{target} may not be written by you: name another file.")


def require_replaceable(path: Path, mark: str, kind: str) -> None:
    """Raise a RunError where a file is in the way that is not an earlier one of the same kind.

    Args:
        path: Where to write.
        mark: What files of that kind, and no others, hold in their first characters.
        kind: How such a file is called in a sentence.
    """
    if path.exists() and not is_special(path):
        with path.open(encoding="utf-8", errors="replace") as file:
            if mark not in file.read(HEAD_CHARACTERS):
                raise RunError(f"{path} exists and is no {kind}: choose another file.")


@contextmanager
def written_whole(path: Path) -> Iterator[TextIO]:
    """Open a text file for writing that takes the place of `path` only when the block succeeds.

    Where `path` is a link, the file that it leads to is replaced; a pipe or a device is written
    as the text comes.
    """
    if is_special(path):
        with path.open("w", newline="", encoding="utf-8") as file:
            yield file
        return
    with (
        taking_the_place_of(path) as partial,
        partial.open("w", newline="", encoding="utf-8") as file,
    ):
        yield file


@contextmanager
def taking_the_place_of(path: Path, writer: str = "") -> Iterator[Path]:
    """Give a path to write to, which takes the place of `path` only when the block succeeds.

    Args:
        path: A file, or nothing yet; where it is a link, the file that it leads to is replaced.
        writer: Sets processes apart that may write the same file at the same time.
    """
    target = path.resolve()
    partial = target.with_name(f"{target.name}{writer}{PARTIAL}")
    try:
        yield partial
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a mapping as JSON."""
    with written_whole(path) as file:
        json.dump(content, file, indent=2)
        file.write("\n")


def is_special(path: Path) -> bool:
    """Tell a pipe or a device from a file, and from nothing."""
    return path.exists() and not path.is_file() and not path.is_dir()
