"""Image files of a dataset, found by post id or by path."""

import logging
import os
import posixpath
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
from pyarrow.fs import FileSystem

from mvcn.data.image_references import MAX_PATH_CHARACTERS, UnreadableImage
from mvcn.errors import BadImageError, DataError, count_of, reason_of
from mvcn.files import require_allowed, why_not_allowed
from mvcn.types import ImageReference, StoredImage

LOG = logging.getLogger(__name__)

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jfif", ".jpe", ".png", ".webp"),
    *(".gif", ".bmp", ".tif", ".tiff", ".avif", ".jp2"),
)
"""Suffixes of image files, in any case; of two files with one id, the earlier suffix is used."""
TEXT_SUFFIXES = (".txt",)
MAX_DEPTH = 2
"""Levels of folders that archives put around a dataset."""
NOT_DATA = ("__MACOSX",)
MAX_NAME_CHARACTERS = 255
"""Limit for a file name on all common systems."""


def names_in(folder: Path | str) -> list[str]:
    """Return the names in a folder; an empty list if it cannot be listed."""
    try:
        return os.listdir(folder)
    except (OSError, ValueError):
        return []


def suffix_of(name: str) -> str:
    """Return the suffix of a name in lower case, with its dot."""
    return os.path.splitext(name)[1].lower()


def files_by_id(folder: Path, *kinds: Sequence[str]) -> list[dict[str, Path]]:
    """Return post id -> file, for each kind of file; the folder is listed once.

    Of several files of one kind with the same id, the one with the earliest suffix is used, then
    the first in alphabetical order, and a warning is logged.

    Args:
        folder: The folder, which need not exist.
        kinds: Suffixes of each kind of file, in lower case and order of precedence.
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


def _first_of_each(
    folder: Path, names: dict[str, list[str]], suffixes: Sequence[str]
) -> dict[str, Path]:
    def rank(name: str) -> tuple[int, str]:
        return suffixes.index(suffix_of(name)), name

    several = sorted(stem for stem, alike in names.items() if len(alike) > 1)
    if several:
        count = count_of(len(several), "id has", "ids have")
        first, second, *_ = sorted(names[several[0]], key=rank)
        LOG.warning(
            "%s: %s more than one file, such as %s and %s: the one whose suffix comes first is "
            "read (%s).",
            *(folder, count, first, second, ", ".join(suffixes)),
        )
    return {stem: folder / min(alike, key=rank) for stem, alike in names.items()}


def holds_images(folder: Path) -> bool:
    """Return whether a folder contains a file with the name of an image."""
    return any(suffix_of(name) in IMAGE_SUFFIXES for name in names_in(folder))


def find_place(root: Path, is_place: Callable[[Path], bool], what: str) -> Path:
    """Return the only folder at or below `root` that matches, else `root` itself.

    Archives often unpack into additional folders, so the requested one may be a level deeper.

    Args:
        root: Where the search starts.
        is_place: Returns whether a folder matches.
        what: Description of the content, for messages.

    Raises:
        DataError: Several folders on one level match, or none does and a folder is not readable.
    """
    require_allowed(root, DataError)
    level = [root]
    forbidden: list[Path] = []
    for depth in range(MAX_DEPTH + 1):
        found = [folder for folder in level if is_place(folder)]
        if len(found) > 1:
            raise DataError(
                f"{root} holds {what} in {len(found)} folders, such as {found[0]} and {found[1]}: "
                "pass one of them with --root."
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


def _folders_in(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = [
                e.name for e in entries if not e.name.startswith((".", *NOT_DATA)) and e.is_dir()
            ]
    except (OSError, ValueError):
        return []
    return [folder / name for name in sorted(names)]


class ImageFolder:
    """The folder that image paths are relative to, and must stay inside.

    Links inside it are followed, wherever they lead. Each subfolder is listed once, on first use.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folder = os.path.abspath(root)
        self._names: dict[str, frozenset[str]] = {}
        self._alike: dict[str, dict[str, list[str]]] = {}
        self._has_logged = False

    def path(self, name: str, where: str) -> ImageReference:
        """Return the image of a path, see `ImagePlace`.

        If there is no such file, other spellings of the path are tried inside the folder (see
        `spellings`), and names that differ in case or have a suffix in addition; then the ends of a
        path that is absolute on another machine. An image that may be either of two files is
        unreadable.
        """
        if "\0" in name or _is_too_long(name):
            return UnreadableImage(
                name[:MAX_PATH_CHARACTERS],
                f"{where}: image {name[:80]!r} is neither a path nor an image as base64 text: fix "
                "its path.",
            )
        path = path_inside(name, self._folder)
        if path is not None and self._is_there(path):
            return self.root / path
        found = self._find(name)
        if len(found) > 1:
            return UnreadableImage(
                name,
                f"{where}: image {name[:80]!r} may be {found[0]} or {found[1]} in {self.root}: "
                "write the path of one of them.",
            )
        if found:
            self._log_other_spelling(name, found[0])
        if found or path is not None:
            return self.root / str(found[0] if found else path)
        return UnreadableImage(
            name,
            f"{where}: image {name[:80]!r} is outside {self.root}: pass the folder that holds all "
            "images with --images FOLDER.",
        )

    def _find(self, name: str) -> list[str]:
        """Return the files that other spellings of a path lead to, in the same case if possible."""
        names = spellings(name, self._folder)
        return self._existing(names) or self._existing(ends_of_path(name))

    def _existing(self, names: Sequence[str]) -> list[str]:
        inside = [path for name in names if (path := path_inside(name, self._folder))]
        there = [path for path in inside if self._is_there(path)]
        return list(dict.fromkeys(there or chain.from_iterable(map(self._similar, inside))))

    def _log_other_spelling(self, name: str, found: str) -> None:
        if not self._has_logged:
            self._has_logged = True
            LOG.info(
                "Image %r is read from %s, and other paths are adjusted in the same way.",
                *(name, self.root / found),
            )

    def _is_there(self, path: str) -> bool:
        folder, name = os.path.split(path)
        return name in self._names_in(folder)

    def _similar(self, path: str) -> list[str]:
        """Return the paths whose parts are alike, see `_alike_in`."""
        found = [""]
        for part in path.split(os.sep):
            found = [
                os.path.join(folder, name) for folder in found for name in self._named(folder, part)
            ]
        return found

    def _named(self, folder: str, name: str) -> list[str]:
        """Return a name if the folder has it, else the names that are like it."""
        return [name] if name in self._names_in(folder) else sorted(self._alike_in(folder, name))

    def _names_in(self, folder: str) -> frozenset[str]:
        if folder not in self._names:
            self._names[folder] = frozenset(names_in(os.path.join(self._folder, folder)))
        return self._names[folder]

    def _alike_in(self, folder: str, name: str) -> list[str]:
        """Return the names that differ just in case or Unicode form, else in a missing suffix."""
        if folder not in self._alike:
            alike: dict[str, list[str]] = {}
            for one in self._names_in(folder):
                alike.setdefault(_folded(one), []).append(one)
            stems: dict[str, list[str]] = {}
            for one in self._names_in(folder):
                if suffix_of(one) in IMAGE_SUFFIXES:
                    stems.setdefault(_folded(os.path.splitext(one)[0]), []).append(one)
            self._alike[folder] = stems | alike
        return self._alike[folder].get(_folded(name), [])


@dataclass(frozen=True, slots=True)
class StoredImageFile(StoredImage):
    """An image file on any file system of pyarrow, such as cloud storage."""

    filesystem: FileSystem = field(compare=False)
    path: str
    others: tuple[str, ...] = field(default=(), compare=False)
    """Alternative paths, tried in order."""
    problem: str = field(default="", compare=False)
    """Message if the file is not found; else the one of the file system."""

    def __str__(self) -> str:
        return self.path

    def read(self) -> bytes:
        """Return the bytes of the file.

        Raises:
            BadImageError: There is no such file, or it cannot be read.
        """
        try:
            return self._read_first()
        except (OSError, pa.ArrowException) as error:
            reason = (
                f"Image {self} cannot be read ({reason_of(error)}): replace it or leave it out."
            )
            raise BadImageError(self.problem or reason) from error

    def _read_first(self) -> bytes:
        missing = []
        for path in (self.path, *self.others):
            try:
                with self.filesystem.open_input_file(path) as file:
                    content: bytes = file.read()
                    return content
            except FileNotFoundError as error:
                missing.append(error)
        raise missing[0]


@dataclass(frozen=True, slots=True)
class StoredImageFolder:
    """As `ImageFolder`, on any file system of pyarrow; no folder is listed."""

    filesystem: FileSystem
    root: str

    def path(self, name: str, where: str) -> ImageReference:
        """Return the image of a path, see `ImagePlace`; other spellings are tried on reading."""
        folder = posixpath.join("/", self.root)
        paths = [path_inside(one, folder) for one in spellings(name, folder)]
        places = list(dict.fromkeys(posixpath.join(self.root, path) for path in paths if path))
        problem = (
            ""
            if paths[0]
            else f"{where}: image {name[:80]!r} is outside {self.root}: fix its path."
        )
        if not places:
            return UnreadableImage(name, problem)
        return StoredImageFile(self.filesystem, places[0], tuple(places[1:]), problem)


def path_inside(name: str, folder: str) -> str | None:
    """Return a path relative to a folder; None where it leads out of it.

    Links are not resolved: one inside the folder may lead anywhere.

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
    """Return a path and its likely alternative spellings.

    Quotes are removed, backslashes replaced, percent-encoding decoded, and a leading slash or
    the names of the folder itself stripped, in all combinations.

    Args:
        name: Path as given in the dataset.
        folder: Absolute path of the folder that it is relative to.
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
        found = list(dict.fromkeys([*found, *map(change, found)]))
    return found


def ends_of_path(name: str) -> list[str]:
    """Return the ends of an absolute path of another machine, the longest first; else nothing."""
    path = name.strip("\"'").replace("\\", "/")
    is_absolute = path.startswith("/") or path[1:3] == ":/"
    if not is_absolute or os.path.exists(name):
        return []
    parts = path.split("/")
    return ["/".join(parts[start:]) for start in range(1, len(parts))]


def _without_folder(name: str, folder: str) -> str:
    """Strip the last names of the folder from the start of a path, as many as match."""
    parts = os.path.normpath(name).lstrip(os.sep).split(os.sep)
    own = folder.split(os.sep)
    for count in range(min(len(parts) - 1, len(own)), 0, -1):
        if _folded("/".join(parts[:count])) == _folded("/".join(own[-count:])):
            return "/".join(parts[count:])
    return name


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _is_too_long(name: str) -> bool:
    """Return whether a name is too long for a file, such as base64 text that is not an image."""
    longest = max(map(len, name.split("/")))
    return len(name) > MAX_PATH_CHARACTERS or longest > MAX_NAME_CHARACTERS
