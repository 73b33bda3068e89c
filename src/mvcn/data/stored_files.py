"""Files given by folder, glob, braces or address, on any file system of pyarrow."""

import logging
import os
import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

import pyarrow as pa
from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileType, LocalFileSystem

from mvcn.errors import DataError, needs_extra, reason_of
from mvcn.files import ADDRESS

SUFFIX = ".parquet"
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
"""Including compressed ones, which are found to be refused: they allow no random access."""
ANY_FOLDERS = "**"
GLOB = re.compile(r"[*?\[]")
HIDDEN = (".", "_")
"""First characters of names to skip, such as an engine's ``_temporary``."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file on a local or remote file system."""

    filesystem: FileSystem = field(compare=False)
    path: str
    """On the file system."""
    name: str
    """Relative to the common folder of all files of the job."""
    size_bytes: int

    @property
    def is_tar(self) -> bool:
        """Whether it is a tar file, by its name."""
        return self.path.lower().endswith(TAR_SUFFIXES)

    @property
    def stem(self) -> str:
        """The path without its suffix."""
        return posixpath.splitext(self.path)[0]


def find_row_files(places: Sequence[str]) -> list[StoredFile]:
    """Return the Parquet or tar files at some places, each once, in the order of their paths.

    A Parquet file next to a tar file of the same name, as img2dataset writes it, has the same
    content and is left out.

    Args:
        places: As for `find_files`.

    Raises:
        DataError: There are no such files, or both kinds; see `find_files`.
    """
    files = find_files(places, (SUFFIX, *TAR_SUFFIXES), "Parquet or tar file")
    tars = {file.stem for file in files if file.is_tar}
    rows = [file for file in files if file.is_tar or file.stem not in tars]
    if len(rows) < len(files):
        logger.info("%d Parquet files next to the tar files are not read.", len(files) - len(rows))
    if len({file.is_tar for file in rows}) > 1:
        both = [next(file.path for file in rows if file.is_tar == kind) for kind in (False, True)]
        raise DataError(
            f"There are both Parquet files ({both[0]}) and tar files ({both[1]}): choose one kind "
            "with a glob such as 'posts/*.tar'."
        )
    return rows


def find_files(places: Sequence[str], suffixes: tuple[str, ...], kind: str) -> list[StoredFile]:
    """Return the files at some places, each once, in the order of their paths.

    Args:
        places: Files, folders (searched recursively, without names that start with a dot or an
            underscore), globs (``*`` within a name, ``**`` for any folders),
            patterns such as ``posts/{000..120}.tar``, or addresses of these, such as
            ``s3://bucket/posts/*.parquet``.
        suffixes: Suffixes of the files to find in a folder.
        kind: Description of such a file, for errors.

    Raises:
        DataError: A place does not exist, cannot be listed, contains no such file, or is on a
            different file system from the others.
    """
    places = [one for place in places for one in _expand_braces(place)]
    found: dict[str, FileInfo] = {}
    filesystem, _ = _locate(places[0])
    for place in places:
        its, path = _locate(place)
        if not its.equals(filesystem):
            raise DataError(
                f"{place} and {places[0]} are on different file systems: run one command for each."
            )
        files = _list(filesystem, path, place, suffixes, kind)
        if not files:
            raise DataError(f"There is no {kind} in {place}: use another folder or glob.")
        found |= {info.path: info for info in files}
    root = posixpath.commonpath([posixpath.dirname(path) for path in found])
    return [
        StoredFile(filesystem, path, posixpath.relpath(path, root or "."), found[path].size)
        for path in sorted(found)
    ]


def _expand_braces(place: str) -> list[str]:
    """Expand the braces of a pattern as the library WebDataset does."""
    if "{" not in place or (ADDRESS.match(place) is None and Path(place).exists()):
        return [place]
    try:
        from webdataset.shardlists import expand_urls
    except ImportError as error:
        raise needs_extra("A WebDataset shard", "webdataset") from error
    try:
        return list(expand_urls(place))
    except ValueError as error:
        raise DataError(f"{place} has a brace that is not closed: add the missing one.") from error


def _locate(place: str) -> tuple[FileSystem, str]:
    if ADDRESS.match(place) is None:
        return LocalFileSystem(), os.path.abspath(place)
    try:
        filesystem, path = FileSystem.from_uri(place)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"{place} is not a valid address ({reason_of(error)}): write it like "
            "s3://bucket/posts/*.parquet."
        ) from error
    return filesystem, path


def _list(
    filesystem: FileSystem, path: str, place: str, suffixes: tuple[str, ...], kind: str
) -> list[FileInfo]:
    try:
        (info,) = filesystem.get_file_info([path])
        if info.type == FileType.File:
            return [info]
        if info.type == FileType.Directory:
            below = _below(filesystem, path, [ANY_FOLDERS, "*"])
            return [info for info in below if info.path.endswith(suffixes)]
        if GLOB.search(path):
            return _matching(filesystem, path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{place} cannot be listed ({reason_of(error)}): check the address and your access to "
            "it."
        ) from error
    what = "is a device or a pipe" if info.type == FileType.Unknown else "does not exist"
    raise DataError(f"{place} {what}: use a {kind}, a folder of them, or a glob.")


def _matching(filesystem: FileSystem, glob: str) -> list[FileInfo]:
    parts = glob.split("/")
    first = next(number for number, part in enumerate(parts) if GLOB.search(part))
    return _below(filesystem, "/".join(parts[:first]) or "/", parts[first:])


def _below(filesystem: FileSystem, folder: str, pattern: Sequence[str]) -> list[FileInfo]:
    selector = FileSelector(folder, recursive=len(pattern) > 1, allow_not_found=True)
    return [
        info
        for info in filesystem.get_file_info(selector)
        if info.type == FileType.File
        and _matches(posixpath.relpath(info.path, folder).split("/"), pattern)
    ]


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Return whether the parts of a path match those of a glob."""
    if not pattern or not parts:
        return not pattern and not parts
    if pattern[0] == ANY_FOLDERS:
        into = len(parts) > 1 and not parts[0].startswith(HIDDEN)
        return _matches(parts, pattern[1:]) or (into and _matches(parts[1:], pattern))
    hidden = parts[0].startswith(HIDDEN) and not pattern[0].startswith(HIDDEN)
    return fnmatchcase(parts[0], pattern[0]) and not hidden and _matches(parts[1:], pattern[1:])
