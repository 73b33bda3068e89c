"""Checks that a command may write its output: to a new place, or over its own earlier output."""

import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mvcn.errors import RunError
from mvcn.files import is_special

HEAD_CHARACTERS = 500
"""Characters at the start of a file that are searched for the mark of its kind."""
LOCK = "lock"
"""Name of the file that keeps two processes from working in one folder."""


def require_output_folder(
    folder: Path,
    kind: str,
    *,
    is_own: bool,
    overwrite: bool,
    can_resume: bool = False,
    ignored: Collection[str] = (),
) -> None:
    """Raise a RunError unless a command may fill the folder; change nothing.

    Args:
        folder: New, empty, or, with `overwrite`, an earlier output of the same kind.
        kind: What the command writes, as in "the run".
        is_own: Whether the folder holds an earlier output of that kind.
        overwrite: Whether an earlier output may be replaced.
        can_resume: Whether an earlier output is unfinished, and the command can ``--resume`` it.
        ignored: Names of files that may be in a folder that counts as empty.
    """
    place = next(path for path in (folder, *folder.parents) if path.exists())
    if not place.is_dir():
        raise RunError(f"{place} is a file: choose a new or empty folder for the {kind}.")
    if is_own and not overwrite:
        if can_resume:
            raise RunError(
                f"{folder} holds a {kind} that is not finished: continue it with --resume, replace "
                "it with --overwrite, or choose another folder."
            )
        raise RunError(
            f"{folder} holds another {kind}: choose another folder, or replace it with --overwrite."
        )
    if not is_own and folder.is_dir() and {path.name for path in folder.iterdir()} - {*ignored}:
        raise RunError(f"{folder} holds other files: choose a new or empty folder for the {kind}.")


def require_same_settings(
    folder: Path,
    kind: str,
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    *,
    can_overwrite: bool = True,
) -> None:
    """Raise a RunError that names the changed settings if unfinished work cannot be continued.

    Args:
        folder: Folder of the unfinished work.
        kind: Name of the work, as in "the search".
        before: Name of a setting that must stay the same -> its value when the work was started.
        now: Name of such a setting -> its value now.
        can_overwrite: Whether the command has an option ``--overwrite``.
    """
    changed = [name for name in now if before.get(name) != now[name]]
    if changed:
        overwrite = ", or replace it with --overwrite" if can_overwrite else ""
        raise RunError(
            f"The {kind} in {folder} was started with other settings ({', '.join(changed)}): use "
            f"the same ones, choose another folder{overwrite}."
        )


def remove_contents(folder: Path, patterns: Collection[str]) -> None:
    """Remove the files and folders that match the patterns, in the order of the patterns."""
    for pattern in patterns:
        for path in sorted(folder.glob(pattern)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


@contextmanager
def locked(folder: Path, kind: str) -> Iterator[None]:
    """Create a folder if needed, and lock it against other processes with the same work.

    Raises:
        RunError: Another process holds the lock.
    """
    from filelock import FileLock, Timeout  # takes a while, and few commands write

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK, blocking=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise RunError(
            f"The {kind} in {folder} is being written by another process: wait for it, or stop it."
        ) from error
    try:
        yield
    finally:
        lock.release()


def require_own_file(path: Path, kind: str, *, is_own: bool) -> None:
    """Raise a RunError unless a file can be written that replaces at most one of its kind.

    Args:
        path: A file, a pipe or a device, which need not exist.
        kind: Name of such a file, as in "report of mvcn report".
        is_own: Whether an existing file is of that kind; see `begins_with`.
    """
    _require_writable(path)
    if path.is_file() and not is_own:
        raise RunError(f"{path} exists and is not a {kind}: choose another file.")


def require_new_file(path: Path, *, overwrite: bool) -> None:
    """Raise a RunError unless a file can be written that replaces one only if `overwrite`."""
    _require_writable(path)
    if path.is_file() and not overwrite:
        raise RunError(f"{path} exists: choose another file, or replace it with --overwrite.")


def begins_with(path: Path, mark: str) -> bool:
    """Return whether a file holds, in its first characters, the mark of its kind."""
    if not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        return mark in file.read(HEAD_CHARACTERS)


def _require_writable(path: Path) -> None:
    if not path.parent.is_dir():
        raise RunError(
            f"The folder {path.parent} does not exist: create it first, for {path.name} to be "
            "written there."
        )
    if path.is_dir():
        raise RunError(f"{path} is a folder: choose a file to write to.")
    if path.is_symlink() and not path.exists():
        raise RunError(f"{path} is a broken link: choose another file.")
    target = path.resolve()
    if not os.access(path if is_special(path) else target.parent, os.W_OK):
        raise RunError(f"You may not write to {target}: choose another file.")
