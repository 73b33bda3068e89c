"""The image of a row: a path inside a folder, base64 text, or bytes."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from mvcn.data.base64_images import decode_base64_image, is_base64_image
from mvcn.data.rows import Row
from mvcn.errors import DataError, reason_of
from mvcn.types import ImageSource, StoredImage

WEB_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
MAX_PATH_CHARACTERS = 4096
MAX_NAME_CHARACTERS = 255
"""Of a file, on every usual system."""


@runtime_checkable
class ImagePlace(Protocol):
    """What image paths are relative to."""

    def path(self, name: str, where: str) -> ImageSource:
        """Return the image of a path; raises a DataError where it leads out of the place."""


class ImageFolder:
    """The folder that image paths are relative to, and must stay inside.

    Args:
        root: The folder.

    Raises:
        DataError: The path of the folder cannot be followed.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._is_folder_inside: dict[str, bool] = {}
        try:
            self._limit = root.resolve()
        except (OSError, RuntimeError, ValueError) as error:
            raise DataError(
                f"Folder {root} cannot be followed ({_short(error)}): correct its path."
            ) from error

    def path(self, name: str, where: str) -> Path:
        """Return the path of an image, which need not be there.

        Args:
            name: As the source has it.
            where: File and row, for errors.

        Raises:
            DataError: The path leads out of the folder, by itself or by a symbolic link, or is
                none at all.
        """
        path = self.root / name
        try:
            if "\0" in name or _is_too_long(name):
                raise ValueError("it is neither a path nor an image as base64 text")
            inside = self._is_inside(path, name)
        except (OSError, RuntimeError, ValueError) as error:
            raise DataError(
                f"{where}: image {name[:80]!r} cannot be followed ({_short(error)}): "
                "correct its path."
            ) from error
        if not inside:
            raise DataError(
                f"{where}: image {name[:80]!r} is outside of {self.root}: "
                "name the folder that holds all images by --images."
            )
        return path

    def _is_inside(self, path: Path, name: str) -> bool:
        """Follow all links; folders only once, since many images are in few of them."""
        last = name.rpartition("/")[2]
        if last in ("", ".", "..") or path.is_symlink():
            return path.resolve().is_relative_to(self._limit)
        folder = name[: len(name) - len(last)]
        if folder not in self._is_folder_inside:
            self._is_folder_inside[folder] = path.parent.resolve().is_relative_to(self._limit)
        return self._is_folder_inside[folder]


def image_of_cell(cell: Any, row: Row, folder: ImagePlace) -> ImageSource | None:
    """Return the image that a cell names or holds.

    Args:
        cell: Null, a path, base64 text with or without ``data:image/...;base64,`` before it, the
            bytes of an image file, its place in a larger file, or a mapping with ``bytes`` or
            ``path`` as Hugging Face datasets write it.
        row: The row that it belongs to.
        folder: What a path is relative to.

    Raises:
        DataError: None of these, a web address, or a path that leads out of the folder.
    """
    again = row.image
    if isinstance(cell, Mapping):
        if not {"bytes", "path"}.intersection(cell):
            raise DataError(
                f"{row.where}: the image is an object without 'path' and 'bytes': give one of them."
            )
        content, again = cell.get("bytes"), None
        cell = cell.get("path") if content is None else content
    if isinstance(cell, str):
        return _image_of_text(cell.strip(), row.where, folder, again)
    if cell is None or isinstance(cell, bytes | StoredImage):
        return cell
    raise DataError(
        f"{row.where}: the image is {type(cell).__name__}, not a path, base64 text or bytes."
    )


def _image_of_text(
    text: str, where: str, folder: ImagePlace, again: StoredImage | None
) -> ImageSource | None:
    if not text:
        return None
    if is_base64_image(text):
        content = _decode(text, where)
        return content if again is None else again
    if text[:5].lower() == "data:":
        raise DataError(
            f"{where}: image {text[:80]!r} is not valid as data: write it as "
            "data:image/png;base64,... or give a path."
        )
    if WEB_ADDRESS.match(text):
        raise DataError(
            f"{where}: image {text[:80]!r} is a web address: download it and give its path."
        )
    return folder.path(text, where)


def _is_too_long(name: str) -> bool:
    """Tell whether no file can be called this, as of base64 text that is no image."""
    names = name.split("/")
    return len(name) > MAX_PATH_CHARACTERS or max(map(len, names)) > MAX_NAME_CHARACTERS


def _decode(text: str, where: str) -> bytes:
    try:
        return decode_base64_image(text)
    except ValueError as error:
        raise DataError(
            f"{where}: the image is not valid base64 ({_short(error)}): write it anew."
        ) from error


def _short(error: Exception) -> str:
    return " ".join(reason_of(error).split()).rstrip(".")[:100]
