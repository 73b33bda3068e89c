"""Files that are there whole or not at all."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from mvcn.errors import RunError


def require_place_for(path: Path) -> None:
    """Raise a RunError unless a file could be written there: for before the work that fills it."""
    if not path.parent.is_dir():
        raise RunError(f"There is no folder {path.parent} to write {path.name} to: make it first.")
    if path.is_dir():
        raise RunError(f"{path} is a folder: name a file to write to.")


@contextmanager
def written_whole(path: Path) -> Iterator[TextIO]:
    """Open a text file for writing that takes the place of `path` only when the block succeeds."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("w", newline="", encoding="utf-8") as file:
            yield file
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a mapping as JSON."""
    with written_whole(path) as file:
        json.dump(content, file, indent=2)
        file.write("\n")
