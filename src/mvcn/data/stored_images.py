"""Images that are files on a file system that pyarrow knows, such as one in a cloud."""

import posixpath
from dataclasses import dataclass, field

import pyarrow as pa
from pyarrow.fs import FileSystem

from mvcn.data.bad_images import UnreadableImage
from mvcn.data.image_paths import path_inside, spellings
from mvcn.errors import BadImageError, reason_of
from mvcn.types import ImageReference, StoredImage


@dataclass(frozen=True, slots=True)
class StoredImageFile(StoredImage):
    """An image file that is read when it is needed."""

    filesystem: FileSystem = field(compare=False)
    path: str
    others: tuple[str, ...] = field(default=(), compare=False)
    """Where else it may be, one after the other."""
    problem: str = field(default="", compare=False)
    """What to say where it is nowhere, in place of what the file system says."""

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
            raise BadImageError(
                self.problem
                or f"Image {self} cannot be read ({reason_of(error)}): restore it or leave it out."
            ) from error

    def _read_first(self) -> bytes:
        lacking = []
        for path in (self.path, *self.others):
            try:
                with self.filesystem.open_input_file(path) as file:
                    content: bytes = file.read()
                    return content
            except FileNotFoundError as error:
                lacking.append(error)
        raise lacking[0]


@dataclass(frozen=True, slots=True)
class StoredImageFolder:
    """The folder that image paths are relative to, and must stay inside."""

    filesystem: FileSystem
    root: str

    def path(self, name: str, where: str) -> ImageReference:
        """Return the image of a path, which need not be there.

        Other spellings of the path, see `spellings`, are tried when it is read and not there.

        Args:
            name: As the source has it.
            where: File and row, for errors.

        Returns:
            A file inside of the folder; else what says why it is none when it is read.
        """
        folder = posixpath.join("/", self.root)
        paths = [path_inside(one, folder) for one in spellings(name, folder)]
        places = list(dict.fromkeys(posixpath.join(self.root, path) for path in paths if path))
        problem = (
            ""
            if paths[0]
            else f"{where}: image {name[:80]!r} is outside of {self.root}: correct its path."
        )
        if not places:
            return UnreadableImage(name, problem)
        return StoredImageFile(self.filesystem, places[0], tuple(places[1:]), problem)
