"""Images that are files on a file system that pyarrow knows, such as one in a cloud."""

import posixpath
from dataclasses import dataclass, field

import pyarrow as pa
from pyarrow.fs import FileSystem

from mvcn.errors import BadImageError, DataError
from mvcn.types import ImageFacts


@dataclass(frozen=True, slots=True)
class StoredImageFile:
    """An image file that is read when it is needed."""

    filesystem: FileSystem = field(compare=False)
    path: str

    def __str__(self) -> str:
        return self.path

    @property
    def facts(self) -> ImageFacts | None:
        """Nothing is known before it is read."""
        return None

    def read(self) -> bytes:
        """Return the bytes of the file.

        Raises:
            BadImageError: There is no such file, or it cannot be read.
        """
        try:
            with self.filesystem.open_input_file(self.path) as file:
                content: bytes = file.read()
                return content
        except (OSError, pa.ArrowException) as error:
            reason = " ".join(str(error).split()).rstrip(".")[:200]
            raise BadImageError(
                f"Image {self} cannot be read ({reason}): restore it or leave it out."
            ) from error


@dataclass(frozen=True, slots=True)
class StoredImageFolder:
    """The folder that image paths are relative to, and must stay inside."""

    filesystem: FileSystem
    root: str

    def path(self, name: str, where: str) -> StoredImageFile:
        """Return the image of a path, which need not be there.

        Args:
            name: As the source has it.
            where: File and row, for errors.

        Raises:
            DataError: The path leads out of the folder.
        """
        inside = posixpath.normpath(name)
        if posixpath.isabs(inside) or inside.split("/")[0] in (".", ".."):
            raise DataError(
                f"{where}: image {name[:80]!r} is outside of {self.root}: correct its path."
            )
        return StoredImageFile(self.filesystem, posixpath.join(self.root, inside))
