"""Where an image path of a source leads inside a folder, read as a person would read it."""

import os
import unicodedata
from collections.abc import Callable
from urllib.parse import unquote


class FolderNames:
    """The names of what is in a folder and its subfolders, each listed once, when first needed.

    Args:
        root: The folder. Links in it are followed.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._names: dict[str, frozenset[str]] = {}
        self._alike: dict[str, dict[str, list[str]]] = {}

    def __contains__(self, path: str) -> bool:
        folder, name = os.path.split(path)
        return name in self._names_in(folder)

    def similar(self, path: str) -> str | None:
        """Return the one path that differs in case or Unicode form alone; None without one."""
        found = ""
        for part in path.split(os.sep):
            names = [part] if part in self._names_in(found) else self._alike_in(found, part)
            if len(names) != 1:
                return None
            found = os.path.join(found, names[0])
        return found

    def _names_in(self, folder: str) -> frozenset[str]:
        if folder not in self._names:
            try:
                self._names[folder] = frozenset(os.listdir(os.path.join(self._root, folder)))
            except (OSError, ValueError):
                self._names[folder] = frozenset()
        return self._names[folder]

    def _alike_in(self, folder: str, name: str) -> list[str]:
        if folder not in self._alike:
            alike: dict[str, list[str]] = {}
            for one in self._names_in(folder):
                alike.setdefault(_folded(one), []).append(one)
            self._alike[folder] = alike
        return self._alike[folder].get(_folded(name), [])


def path_inside(name: str, folder: str) -> str | None:
    """Return a path relative to a folder; None where it leads out of it.

    Links are not looked at: who made one inside of the folder chose where it leads.

    Args:
        name: Path relative to the folder, or an absolute one.
        folder: Absolute path without ``..``.
    """
    path = os.path.normpath(os.path.join(folder, name))
    start = os.path.join(folder, "")
    if path == folder:
        return ""
    return path[len(start) :] if path.startswith(start) else None


def spellings(name: str, folder: str) -> list[str]:
    """Return a path as it is, and what else a person would try if there were no such file.

    Quotes are taken off, backslashes turned, percent signs decoded, and a slash or the names of
    the folder itself are left out at the beginning, in all combinations.

    Args:
        name: Path as the source has it.
        folder: Absolute path of what it is relative to.
    """
    changes: tuple[Callable[[str], str], ...] = (
        lambda one: one.strip("\"'"),
        lambda one: one.replace("\\", "/"),
        unquote,
        lambda one: one.lstrip("/"),
        lambda one: _without_folder(one, folder),
    )
    found = [name]
    for change in changes:
        found += [change(one) for one in found]
        found = list(dict.fromkeys(found))
    return found


def _without_folder(name: str, folder: str) -> str:
    """Take the last names of the folder off the beginning of a path, as many as are there."""
    parts = os.path.normpath(name).lstrip(os.sep).split(os.sep)
    own = folder.split(os.sep)
    for count in range(min(len(parts) - 1, len(own)), 0, -1):
        if _folded("/".join(parts[:count])) == _folded("/".join(own[-count:])):
            return "/".join(parts[count:])
    return name


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
