"""Atomic writing of files, and permissions to read them."""

import json
import os
import re
import shlex
import stat
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from mvcn.errors import DataError, MvcnError, RunError, reason_of

ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
"""Start of the address of a file that is not on this machine."""
PARTIAL = ".partial"
"""Suffix of a file that is not complete yet."""
NOT_ALLOWED = "cannot be read (permission denied): ask its owner for access."
"""End of an error about a file whose permission bits do not explain it."""


@contextmanager
def intact(path: Path) -> Iterator[Path]:
    """Yield a file of a saved model, and raise a RunError if the block, which reads it, fails."""
    require_allowed(path, RunError)
    try:
        yield path
    except Exception as error:  # damaged files make libraries raise almost any type
        why = f"it lacks {error}" if isinstance(error, KeyError) else reason_of(error)
        raise RunError(f"{path} is damaged ({why}): copy or train the model again.") from error


@contextmanager
def atomic_write(path: Path) -> Iterator[TextIO]:
    """Open a text file for writing, which replaces `path` only if the block succeeds.

    If `path` is a link, its target is replaced; a pipe or a device is written directly.
    """
    if is_special(path):
        with path.open("w", newline="", encoding="utf-8") as file:
            yield file
        return
    with (
        atomic_replace(path) as partial,
        partial.open("w", newline="", encoding="utf-8") as file,
    ):
        yield file


@contextmanager
def atomic_replace(path: Path, writer: str = "") -> Iterator[Path]:
    """Yield a path to write to, which replaces `path` only if the block succeeds.

    Args:
        path: A file, which need not exist; if it is a link, its target is replaced.
        writer: Distinguishes processes that may write the same file at the same time.
    """
    target = path.resolve()
    partial = target.with_name(f"{target.name}{writer}{PARTIAL}")
    try:
        yield partial
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def why_not_allowed(path: Path) -> str | None:
    """Return why a file or folder may not be read, and how to allow it.

    Returns:
        The end of a sentence that begins with the file's name; None if it may be read or does
        not exist.
    """
    for part in (*reversed(path.absolute().parents), path.absolute()):
        if not _is_allowed(part, os.F_OK):
            return None
        needed, letters = (os.X_OK, "x") if part.is_dir() else (os.R_OK, "r")
        if part == path.absolute() and part.is_dir():
            needed, letters = os.R_OK | os.X_OK, "rx"
        if not _is_allowed(part, needed):
            return (
                f"cannot be read (permission denied): run chmod +{letters} "
                f"{shlex.quote(str(part))}."
            )
    return None


def require_allowed(path: Path, kind: type[MvcnError], name: str = "") -> None:
    """Raise an error of a kind if a file or folder exists but you may not read it.

    Args:
        path: File or folder.
        kind: Class of the error.
        name: Description that precedes the path in the error.
    """
    forbidden = why_not_allowed(path)
    if forbidden is not None:
        raise kind(f"{name} {path} {forbidden}".lstrip())


def read_lines(path: Path, advice: str) -> dict[int, str]:
    """Return number, from 1 -> content of each line that is not empty, stripped.

    Args:
        path: A UTF-8 text file.
        advice: What to do where it cannot be read.

    Raises:
        DataError: It cannot be read.
    """
    try:
        lines = path.read_text("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        require_allowed(path, DataError)
        raise DataError(f"{path} cannot be read ({reason_of(error)}): {advice}") from error
    return {number: line.strip() for number, line in enumerate(lines, 1) if line.strip()}


def set_usual_permissions(*paths: Path) -> None:
    """Give files the permissions of a new file, by the umask and the rules of the folder.

    Some libraries write to a temporary file first, which nobody else may read.
    """
    for path in paths:
        example = path.with_name(f"{uuid.uuid4().hex}{PARTIAL}")
        example.touch()
        try:
            with suppress(OSError):  # of file systems without permissions
                path.chmod(stat.S_IMODE(example.stat().st_mode))
        finally:
            example.unlink()


def save_tensors(
    tensors: Mapping[str, Any], path: Path, metadata: Mapping[str, str] | None = None
) -> None:
    """Write named tensors to a safetensors file."""
    from safetensors.torch import save_file  # torch takes seconds to load

    save_file(dict(tensors), path, metadata=None if metadata is None else dict(metadata))
    set_usual_permissions(path)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a mapping as JSON."""
    with atomic_write(path) as file:
        json.dump(content, file, indent=2)
        file.write("\n")


def _is_allowed(path: Path, mode: int) -> bool:
    """Check for the effective user, whose permissions apply when files are opened."""
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def is_special(path: Path) -> bool:
    """Return whether the path is a pipe or a device."""
    return path.exists() and not path.is_file() and not path.is_dir()
