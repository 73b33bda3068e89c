"""Files inside tar files, each read from its place when it is needed; nothing is unpacked."""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from mvcn.data.stored_files import StoredFile
from mvcn.errors import BadImageError, DataError, reason_of
from mvcn.files import NOT_ALLOWED, why_not_allowed
from mvcn.types import StoredImage

BYTES_AT_ONCE = 1 << 20
COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
"""How files of gzip, bzip2, xz and zstandard begin."""


@dataclass(frozen=True, slots=True)
class TarMember(StoredImage):
    """A file inside a tar file, where its bytes follow each other.

    Its identity is its place. No file stays open. Threads may read at the same time.
    """

    file: StoredFile
    """The tar file."""
    name: str
    """Path inside the tar file."""
    offset: int
    size_bytes: int
    modified_ns: int = field(compare=False)
    """When the tar file was changed last, before its members were listed."""

    def __str__(self) -> str:
        return f"{self.name} in {self.file.path}"

    def read(self) -> bytes:
        """Return the bytes of the file.

        Raises:
            BadImageError: The tar file is missing, cannot be read or was changed.
        """
        try:
            if version_of(self.file) != (self.file.size_bytes, self.modified_ns):
                raise BadImageError(
                    f"{self.file.path} was changed or removed after its members were listed, so "
                    f"that {self.name} cannot be read: restore it, or run the command again."
                )
            with self.file.filesystem.open_input_file(self.file.path) as stream:
                content: bytes = stream.read_at(self.size_bytes, self.offset)
                return content
        except PermissionError as error:
            raise BadImageError(f"{self.file.path} {_forbidden(self.file)}") from error
        except (OSError, pa.ArrowException) as error:
            raise BadImageError(
                f"{self} cannot be read ({reason_of(error)}): restore the tar file."
            ) from error


def version_of(file: StoredFile) -> tuple[int | None, int | None]:
    """Return size and time of the last change; None where there is no such file."""
    (info,) = file.filesystem.get_file_info([file.path])
    return info.size, info.mtime_ns


def read_members(file: StoredFile) -> Iterator[TarMember]:
    """Yield the regular files in a tar file in their order; their content is not read.

    Raises:
        DataError: No tar file, a compressed one, one that is damaged or not whole, or one with
            links or sparse files; names the member.
    """
    last = ""
    try:
        _, modified_ns = version_of(file)
        with file.filesystem.open_input_file(file.path) as stream:
            _require_uncompressed(stream, file)
            with tarfile.open(fileobj=stream, mode="r:") as archive:
                while (entry := archive.next()) is not None:
                    archive.members.clear()  # type: ignore[attr-defined]  # else all stay in memory
                    last = entry.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
                    if not entry.isdir():
                        _require_in_one_piece(entry, last, file)
                        place = (entry.offset_data, entry.size, modified_ns or 0)
                        yield TarMember(file, last, *place)
                _require_end(stream, archive.offset)
    except PermissionError as error:
        raise DataError(f"{file.path} {_forbidden(file)}") from error
    except (tarfile.TarError, EOFError, OSError, ValueError, pa.ArrowException) as error:
        behind = f"behind its member {last}" if last else "at its beginning"
        raise DataError(
            f"{file.path} is damaged or not whole {behind} ({reason_of(error)}): "
            "download or write it again, or take it out."
        ) from error


def _require_uncompressed(stream: pa.NativeFile, file: StoredFile) -> None:
    beginning = stream.read(8)
    stream.seek(0)
    if beginning.startswith(COMPRESSED):
        raise DataError(
            f"{file.path} is compressed, so that nothing can be read from the middle of it: "
            "decompress it first, as by gunzip."
        )


def _require_in_one_piece(entry: tarfile.TarInfo, name: str, file: StoredFile) -> None:
    if not entry.isreg() or entry.issparse():
        what = "a sparse file" if entry.isreg() else "a link or a device"
        raise DataError(
            f"{file.path}: its member {name} is {what}: write the tar file again with "
            "--dereference and without --sparse."
        )


def _require_end(stream: pa.NativeFile, offset: int) -> None:
    """Raise a ReadError unless zeros follow, as at the end of each tar file that is whole."""
    stream.seek(offset)
    zeros = 0
    while block := stream.read(BYTES_AT_ONCE):
        if block.strip(b"\0"):
            raise tarfile.ReadError("what follows is no member")
        zeros += len(block)
    if zeros < tarfile.BLOCKSIZE:
        raise tarfile.ReadError("its end is missing")


def _forbidden(file: StoredFile) -> str:
    return why_not_allowed(Path(file.path)) or NOT_ALLOWED
