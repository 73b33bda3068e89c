"""The image of a row: a path inside a folder, base64 text, or bytes."""

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable
from urllib.parse import unquote

from mvcn.data.bad_images import UnreadableImage
from mvcn.data.base64_images import decode_base64_image, is_base64_image
from mvcn.data.formats.cells import is_missing
from mvcn.data.formats.rows import Row
from mvcn.data.image_paths import FolderNames, path_inside, spellings
from mvcn.errors import reason_of
from mvcn.types import ImageReference, StoredImage

LOG = logging.getLogger(__name__)

WEB_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
FILE_ADDRESS = re.compile(r"file://(?:localhost)?(?=/)", re.IGNORECASE)
NO_IMAGE = frozenset(("\\N", "NaN", "nan", "<NA>", "#N/A", "NULL", "null", "None"))
"""What programs write into a cell of a table that is empty."""
PYTHON_BYTES = re.compile(r"b(['\"]).*\1", re.DOTALL)
KINDS_OF_CELLS: dict[type, str] = {
    bool: "true or false",
    int: "a number",
    float: "a number",
}
MAX_PATH_CHARACTERS = 4096
MAX_NAME_CHARACTERS = 255
"""Of a file, on every usual system."""


@runtime_checkable
class ImagePlace(Protocol):
    """What image paths are relative to."""

    def path(self, name: str, where: str) -> ImageReference:
        """Return the image of a path; one that cannot be read where it leads out of the place."""


class ImageFolder:
    """The folder that image paths are relative to, and must stay inside.

    Links inside of it are followed, wherever they lead: their owner made them.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folder = os.path.abspath(root)
        self._names = FolderNames(self._folder)
        self._has_told = False

    def path(self, name: str, where: str) -> ImageReference:
        """Return the image of a path, which need not be there.

        Where there is no such file, other spellings of the path are tried inside of the folder,
        see `spellings`, and other cases of its letters.

        Args:
            name: As the source has it.
            where: File and row, for errors.

        Returns:
            A path inside of the folder; else what says why it is none when it is read.
        """
        if "\0" in name or _is_too_long(name):
            return UnreadableImage(
                name[:MAX_PATH_CHARACTERS],
                f"{where}: image {name[:80]!r} cannot be followed (it is neither a path nor an "
                "image as base64 text): correct its path.",
            )
        path = path_inside(name, self._folder)
        if path is not None and path in self._names:
            return self.root / path
        found = self._find(name)
        if found is not None:
            return self.root / found
        if path is None:
            return UnreadableImage(
                name,
                f"{where}: image {name[:80]!r} is outside of {self.root}: "
                "name the folder that holds all images by --images.",
            )
        return self.root / path

    def _find(self, name: str) -> str | None:
        """Return the file that another spelling of a path leads to, if there is one."""
        others = [path_inside(one, self._folder) for one in spellings(name, self._folder)]
        inside = [path for path in others if path]
        there = (path for path in inside if path in self._names)
        similar = (path for one in inside if (path := self._names.similar(one)) is not None)
        found = next(there, None) or next(similar, None)
        if found is not None and not self._has_told:
            self._has_told = True
            LOG.info(
                "Image %r is read from %s, and others that are spelt like it accordingly.",
                *(name, self.root / found),
            )
        return found


def image_of_cell(cell: Any, row: Row, folder: ImagePlace) -> ImageReference | None:
    """Return the image that a cell names or holds; one that cannot be read for any other cell.

    Args:
        cell: Null, a path, base64 text with or without ``data:image/...;base64,`` before it, the
            bytes of an image file, its place in a larger file, or a mapping with ``bytes`` or
            ``path`` as Hugging Face datasets write it; or a list of at most one of them. What
            programs write for an empty cell, as `NO_IMAGE` has it, is no image unless a file is
            called so.
        row: The row that it belongs to.
        folder: What a path is relative to.
    """
    again = row.image
    if isinstance(cell, list):
        cell, again = _only(cell), None
    if isinstance(cell, Mapping):
        if not {"bytes", "path"}.intersection(cell):
            return UnreadableImage(
                "an object",
                f"{row.where}: the image is an object without 'path' and 'bytes': give one of "
                "them.",
            )
        content, again = cell.get("bytes"), None
        cell = cell.get("path") if content is None else content
    if isinstance(cell, str):
        return _image_of_text(cell.strip(), row.where, folder, again)
    if is_missing(cell):
        return None
    if isinstance(cell, Path | bytes | StoredImage):
        return cell
    if isinstance(cell, list):
        return UnreadableImage(
            "a list", f"{row.where}: the image is a list of {len(cell)} images: keep one."
        )
    kind = KINDS_OF_CELLS.get(type(cell), f"of the type {type(cell).__name__}")
    return UnreadableImage(
        kind, f"{row.where}: the image is {kind}, not a path, base64 text or bytes."
    )


def _only(cells: list[Any]) -> Any:
    """Return what a list of one holds, None for an empty list, and a longer one as it is."""
    cell: Any = cells
    while isinstance(cell, list) and not cell[1:]:
        cell = cell[0] if cell else None
    return cell


def local_path(text: str) -> str:
    """Return the path that an address ``file:///...`` stands for, and all else as it is."""
    address = FILE_ADDRESS.match(text)
    return text if address is None else unquote(text[address.end() :])


def _image_of_text(
    text: str, where: str, folder: ImagePlace, again: StoredImage | None
) -> ImageReference | None:
    if not text:
        return None
    if is_base64_image(text):
        content = _decode(text, where)
        return again if isinstance(content, bytes) and again is not None else content
    problem = _why_no_path(text := local_path(text))
    if problem is not None:
        return UnreadableImage(text[:MAX_PATH_CHARACTERS], f"{where}: {problem}")
    found = folder.path(text, where)
    if text in NO_IMAGE and not (isinstance(found, Path) and found.is_file()):
        return None
    return found


def _why_no_path(text: str) -> str | None:
    """Return what a text is that looks like something else than a path, and what to do."""
    if text[:5].lower() == "data:":
        return (
            f"image {text[:80]!r} is not valid as data: write it as data:image/png;base64,... or "
            "give a path."
        )
    if PYTHON_BYTES.fullmatch(text):
        return "the image is bytes as Python shows them (b'...'): write them as base64."
    if WEB_ADDRESS.match(text):
        return (
            f"image {text[:80]!r} is a web address, and nothing is downloaded: fetch the images, "
            "as by img2dataset, whose .tar files are read by --data webdataset."
        )
    return None


def _is_too_long(name: str) -> bool:
    """Tell whether no file can be called this, as of base64 text that is no image."""
    names = name.split("/")
    return len(name) > MAX_PATH_CHARACTERS or max(map(len, names)) > MAX_NAME_CHARACTERS


def _decode(text: str, where: str) -> bytes | UnreadableImage:
    try:
        return decode_base64_image(text)
    except ValueError as error:
        return UnreadableImage(
            text[:MAX_PATH_CHARACTERS],
            f"{where}: the image is not valid base64 ({reason_of(error)}): write it anew.",
        )
