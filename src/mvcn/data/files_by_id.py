"""Files that a data set knows by the id before their suffix, in the folder where they are."""

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from mvcn.errors import DataError
from mvcn.files import require_allowed, why_not_allowed

LOG = logging.getLogger(__name__)

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jfif", ".jpe", ".png", ".webp"),
    *(".gif", ".bmp", ".tif", ".tiff", ".avif", ".jp2"),
)
"""How names of image files end, in any case; of two files with one id the earlier counts."""
TEXT_SUFFIXES = (".txt",)
MAX_DEPTH = 2
"""Folders that archives put around a data set."""
NOT_DATA = ("__MACOSX",)


def files_by_id(folder: Path, *kinds: Sequence[str]) -> list[dict[str, Path]]:
    """Return id -> file for each kind of file in a folder, which is listed once.

    Of several files of one kind with one id, the one whose suffix comes first counts, then the one
    whose name is first in alphabetical order, and a warning says so.

    Args:
        folder: The folder; nothing is found where there is none.
        kinds: Suffixes of each kind of file, in lower case.
    """
    found: list[dict[str, list[str]]] = [{} for _ in kinds]
    for name in names_in(folder):
        stem, suffix = os.path.splitext(name)
        for names, suffixes in zip(found, kinds, strict=True):
            if suffix.lower() in suffixes:
                names.setdefault(stem, []).append(name)
    return [
        _first_of_each(folder, names, suffixes)
        for names, suffixes in zip(found, kinds, strict=True)
    ]


def holds_images(folder: Path) -> bool:
    """Tell whether there is a file with the name of an image in a folder."""
    return any(os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES for name in names_in(folder))


def find_place(root: Path, is_place: Callable[[Path], bool], what: str) -> Path:
    """Return the one folder at or below `root` that is of a kind, else `root` itself.

    Archives unpack to folders of their own, so that what is asked for may lie a little deeper.

    Args:
        root: Where to begin.
        is_place: Tells a folder of the kind from others.
        what: What the kind is called, for people.

    Raises:
        DataError: There are several on one level, or none and you may not read a folder.
    """
    require_allowed(root, DataError)
    level = [root]
    forbidden: list[Path] = []
    for depth in range(MAX_DEPTH + 1):
        found = [folder for folder in level if is_place(folder)]
        if len(found) > 1:
            raise DataError(
                f"{root} holds {what} in {len(found)} folders, such as {found[0]} and {found[1]}: "
                "name one of them."
            )
        if found:
            if depth:
                LOG.info("Reading %s from %s, which is below %s.", what, found[0], root)
            return found[0]
        below = [folder for parent in level for folder in _folders_in(parent)]
        level = [folder for folder in below if why_not_allowed(folder) is None]
        forbidden += [folder for folder in below if folder not in level]
    for folder in forbidden:
        require_allowed(folder, DataError)
    return root


def names_in(folder: Path) -> list[str]:
    """Return the names of what is in a folder; none where it cannot be listed."""
    try:
        return os.listdir(folder)
    except (OSError, ValueError):
        return []


def _first_of_each(
    folder: Path, names: dict[str, list[str]], suffixes: Sequence[str]
) -> dict[str, Path]:
    def rank(name: str) -> tuple[int, str]:
        return suffixes.index(os.path.splitext(name)[1].lower()), name

    several = sorted(stem for stem, alike in names.items() if len(alike) > 1)
    if several:
        first, second, *_ = sorted(names[several[0]], key=rank)
        LOG.warning(
            "%s: %d id(s) have more than one file, such as %s and %s: the first is read, in the "
            "order %s.",
            *(folder, len(several), first, second, ", ".join(suffixes)),
        )
    return {stem: folder / min(alike, key=rank) for stem, alike in names.items()}


def _folders_in(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = [
                e.name for e in entries if not e.name.startswith((".", *NOT_DATA)) and e.is_dir()
            ]
    except (OSError, ValueError):
        return []
    return [folder / name for name in sorted(names)]
