"""Images inside Parquet and tar files, each read on demand; nothing is unpacked."""

import hashlib
import os
import tarfile
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from mvcn.data.stored_files import StoredFile
from mvcn.errors import BadImageError, DataError, reason_of
from mvcn.files import NOT_ALLOWED, why_not_allowed
from mvcn.types import ImageFacts, StoredImage

MAX_CACHED_BYTES = 64 * 2**20
MAX_CACHED_FOOTERS = 8
BYTES_FIELD = "bytes"
"""Field of a struct column with the image file, named as by Hugging Face datasets."""
BYTES_AT_ONCE = 1 << 20
COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
"""First bytes of gzip, bzip2, xz and zstandard files."""

FileVersion: TypeAlias = tuple[Path, int, int, int]
"""Path, inode, size and time of the last change."""


@dataclass(frozen=True, slots=True)
class ParquetImage(StoredImage):
    """An image file inside a Parquet file: one row of a column of bytes, or of a struct with them.

    Equality is by location, not by `facts`. Row groups are cached, in total at most
    `MAX_CACHED_BYTES` or one row group. No file stays open. Several threads may read at the same
    time.
    """

    path: Path
    row_group: int
    row: int
    """Within the row group; 0 is the first."""
    column: str = "image"
    """Name of a column of type binary or large_binary, or of a struct with a field ``bytes``."""
    facts: ImageFacts | None = field(default=None, compare=False)
    number: int | None = field(default=None, compare=False)
    """Of the row in the file; 1 is the first."""

    def __str__(self) -> str:
        if self.number is not None:
            return f"in row {self.number} of {self.path}"
        return f"in row {self.row + 1} of row group {self.row_group + 1} of {self.path}"

    def read(self) -> bytes:
        """Return the bytes of the image file.

        Raises:
            BadImageError: The file is missing, damaged or changed, or the cell has no image.
        """
        try:
            content = _ROW_GROUPS.get(self)
        except _UnreadableError as error:
            raise BadImageError(f"Image {self} {error}") from error.__cause__
        if self.facts is not None:
            digest = hashlib.blake2b(content, digest_size=16).hexdigest()
            if digest != self.facts.digest:
                raise BadImageError(
                    f"Image {self} has changed since it was listed: put the original back, or run "
                    "the command again."
                )
        return content


class _UnreadableError(Exception):
    """The rest of a sentence that starts with the location of the image."""


class _RowGroup:
    """The images of one row group, once they have been read."""

    def __init__(self) -> None:
        self.lock = Lock()  # concurrent readers wait, so that nothing is read twice
        self.images: pa.ChunkedArray | None = None

    @property
    def num_bytes(self) -> int:
        return 0 if self.images is None else self.images.nbytes


class _RowGroups:
    """Cache of the row groups and footers used last."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Reset the cache, with new locks."""
        self._lock = Lock()
        self._groups: OrderedDict[tuple[FileVersion, int, str], _RowGroup] = OrderedDict()
        self._footers: OrderedDict[FileVersion, pq.FileMetaData] = OrderedDict()

    def get(self, image: ParquetImage) -> bytes:
        version = _version(image.path)
        key = (version, image.row_group, image.column)
        with self._lock:
            group = self._groups.setdefault(key, _RowGroup())
            self._groups.move_to_end(key)
        with group.lock:
            if group.images is None:
                group.images = self._read(image, version)
                self._make_room()
            return _cell(group.images, image.row)

    def _read(self, image: ParquetImage, version: FileVersion) -> pa.ChunkedArray:
        try:
            return _read_column(image, self._footer(image.path, version))
        except (OSError, ValueError, MemoryError, pa.ArrowException) as error:
            usual = f"cannot be read ({reason_of(error)}): replace the file or leave it out."
            raise _UnreadableError(why_not_allowed(image.path) or usual) from error

    def _footer(self, path: Path, version: FileVersion) -> pq.FileMetaData:
        with self._lock:
            if version not in self._footers:
                self._footers[version] = pq.read_metadata(path)
            self._footers.move_to_end(version)
            while len(self._footers) > MAX_CACHED_FOOTERS:
                self._footers.popitem(last=False)
            return self._footers[version]

    def _make_room(self) -> None:
        with self._lock:
            sizes = {key: group.num_bytes for key, group in self._groups.items()}
            total = sum(sizes.values())
            for key in list(self._groups)[:-1]:
                if total <= MAX_CACHED_BYTES:
                    break
                total -= sizes[key]
                del self._groups[key]


_ROW_GROUPS = _RowGroups()
# A fork while a thread reads would copy a lock that is never released.
os.register_at_fork(after_in_child=_ROW_GROUPS.forget)


def _version(path: Path) -> FileVersion:
    try:
        if path.is_file():  # a named pipe would block for ever
            status = path.stat()
            return path, status.st_ino, status.st_size, status.st_mtime_ns
    except (OSError, ValueError) as error:
        usual = f"cannot be read ({reason_of(error)}): replace the file."
        raise _UnreadableError(why_not_allowed(path) or usual) from error
    raise _UnreadableError("cannot be read because the file does not exist: put it back.")


def _read_column(image: ParquetImage, footer: pq.FileMetaData) -> pa.ChunkedArray:
    schema = footer.schema.to_arrow_schema()
    if not 0 <= image.row_group < footer.num_row_groups or image.column not in schema.names:
        raise _UnreadableError(f"does not exist{_CHANGED}")
    leaf = _leaf(image.column, schema.field(image.column).type)
    with pq.ParquetFile(
        image.path, metadata=footer, page_checksum_verification=True, pre_buffer=False
    ) as file:
        table = file.read_row_group(image.row_group, columns=[leaf], use_threads=False)
    return table.column(image.column)


_CHANGED = " because the file was changed: put the original back, or run the command again."


def _leaf(column: str, kind: pa.DataType) -> str:
    """Return the Parquet path of the column's bytes."""
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return column
    if pa.types.is_struct(kind) and kind.get_field_index(BYTES_FIELD) >= 0:
        return f"{column}.{BYTES_FIELD}"
    raise _UnreadableError(
        f"cannot be read, since column '{column}' holds {kind} instead of bytes: choose another "
        "with --columns image=NAME."
    )


def _cell(images: pa.ChunkedArray, row: int) -> bytes:
    if not 0 <= row < len(images):
        raise _UnreadableError(f"does not exist{_CHANGED}")
    value = images[row].as_py()
    content = value[BYTES_FIELD] if isinstance(value, dict) else value
    if not isinstance(content, bytes):
        raise _UnreadableError("does not exist (the cell is empty): leave it out.")
    return content


@dataclass(frozen=True, slots=True)
class TarMember(StoredImage):
    """A file stored contiguously inside a tar file.

    Equality is by location. No file stays open. Several threads may read at the same time.
    """

    file: StoredFile
    """The tar file."""
    name: str
    """Path inside the tar file."""
    offset: int
    size_bytes: int
    modified_ns: int = field(compare=False)
    """Last change of the tar file before its members were listed."""

    def __str__(self) -> str:
        return f"{self.name} in {self.file.path}"

    def read(self) -> bytes:
        """Return the bytes of the file.

        Raises:
            BadImageError: The tar file is missing, unreadable or changed.
        """
        try:
            if version_of(self.file) != (self.file.size_bytes, self.modified_ns):
                raise BadImageError(
                    f"{self.file.path} was changed or removed after its files were listed, so "
                    f"{self.name} cannot be read: put the original back, or run the command again."
                )
            with self.file.filesystem.open_input_file(self.file.path) as stream:
                content: bytes = stream.read_at(self.size_bytes, self.offset)
                return content
        except PermissionError as error:
            raise BadImageError(f"{self.file.path} {_forbidden(self.file)}") from error
        except (OSError, pa.ArrowException) as error:
            raise BadImageError(
                f"{self} cannot be read ({reason_of(error)}): download or write the tar file again."
            ) from error


def version_of(file: StoredFile) -> tuple[int | None, int | None]:
    """Return size and time of the last change; None for a missing file."""
    (info,) = file.filesystem.get_file_info([file.path])
    return info.size, info.mtime_ns


def read_members(file: StoredFile) -> Iterator[TarMember]:
    """Yield the regular files in a tar file, in order, without reading their content.

    Raises:
        DataError: Not a tar file, or one that is compressed, damaged or incomplete, or has links
            or sparse files; names the member.
    """
    last = ""
    try:
        _, modified_ns = version_of(file)
        with file.filesystem.open_input_file(file.path) as stream:
            _require_uncompressed(stream, file)
            with tarfile.open(fileobj=stream, mode="r:") as archive:
                while (entry := archive.next()) is not None:
                    archive.members.clear()  # type: ignore[attr-defined]  # else all members stay in memory
                    last = entry.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
                    if not entry.isdir():
                        _require_in_one_piece(entry, last, file)
                        place = (entry.offset_data, entry.size, modified_ns or 0)
                        yield TarMember(file, last, *place)
                _require_end(stream, archive.offset)
    except PermissionError as error:
        raise DataError(f"{file.path} {_forbidden(file)}") from error
    except (tarfile.TarError, EOFError, OSError, ValueError, pa.ArrowException) as error:
        behind = f"after its file {last}" if last else "at its beginning"
        raise DataError(
            f"{file.path} is damaged or incomplete {behind} ({reason_of(error)}): download or "
            "write it again, or remove it."
        ) from error


def _require_uncompressed(stream: pa.NativeFile, file: StoredFile) -> None:
    beginning = stream.read(8)
    stream.seek(0)
    if beginning.startswith(COMPRESSED):
        raise DataError(
            f"{file.path} is compressed, so its files cannot be read one by one: decompress it "
            "first, for example with gunzip."
        )


def _require_in_one_piece(entry: tarfile.TarInfo, name: str, file: StoredFile) -> None:
    if not entry.isreg() or entry.issparse():
        what = "a sparse file" if entry.isreg() else "a link or a device"
        raise DataError(
            f"{file.path}: {name} in it is {what}: write the tar file again with tar --dereference "
            "and without --sparse."
        )


def _require_end(stream: pa.NativeFile, offset: int) -> None:
    """Raise a ReadError unless zeros follow, as at the end of a complete tar file."""
    stream.seek(offset)
    zeros = 0
    while block := stream.read(BYTES_AT_ONCE):
        if block.strip(b"\0"):
            raise tarfile.ReadError("what follows is not a file")
        zeros += len(block)
    if zeros < tarfile.BLOCKSIZE:
        raise tarfile.ReadError("its end is missing")


def _forbidden(file: StoredFile) -> str:
    return why_not_allowed(Path(file.path)) or NOT_ALLOWED
