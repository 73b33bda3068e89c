"""A job's input cut into shards: some row groups of one file each."""

import posixpath
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from pyarrow.fs import LocalFileSystem

from mvcn.data.formats.parquet import ParquetRows
from mvcn.data.formats.posts import RowFile
from mvcn.data.formats.rows import repeated_name
from mvcn.data.image_files import ImageFolder, StoredImageFolder
from mvcn.data.image_references import ImagePlace
from mvcn.data.prefetch import prefetch
from mvcn.data.stored_files import StoredFile
from mvcn.data.webdataset_batches import TarRows
from mvcn.errors import DataError

ROWS_A_SHARD = 10_000
"""Usual size: what a kill costs a worker at most, where row groups are smaller."""
FOOTERS_AT_ONCE = 8
MAX_NAME_CHARACTERS = 100


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file and what its footer says, or the headers of its members."""

    file: StoredFile
    rows_of_groups: tuple[int, ...]
    digest: str
    """See `RowFile.digest`."""

    @property
    def rows(self) -> int:
        """Of the whole file."""
        return sum(self.rows_of_groups)


@dataclass(frozen=True, slots=True)
class Shard:
    """What is scored in one piece and becomes one file of predictions and one of errors."""

    number: int
    file: StoredFile
    row_groups: tuple[int, ...]
    first_row: int
    """Number of its first row in the file; 1 is the first of all."""
    rows: int
    digest: str
    """Of the file when the job was planned."""

    @property
    def name(self) -> str:
        """What its files are called: the number in the job, and the input's own name."""
        stem = posixpath.splitext(posixpath.basename(self.file.path))[0]
        readable = re.sub(r"[^\w.-]", "_", stem, flags=re.ASCII)
        return f"{self.number:06d}-{readable[:MAX_NAME_CHARACTERS]}"


def read_footers(
    files: Sequence[StoredFile], names: Mapping[str, str], kept: Collection[str] = ()
) -> list[InputFile]:
    """Read the footer of each file, and see that it has the columns of posts.

    Args:
        files: The job's input.
        names: Our name of each column -> theirs, which must be there.
        kept: Columns of theirs that must be there, too.

    Raises:
        DataError: A file is not what its name says, or a column is missing; names the file.
    """
    return list(
        prefetch(
            lambda file: _read_footer(file, names, kept),
            files,
            threads=FOOTERS_AT_ONCE,
        )
    )


def cut(inputs: Sequence[InputFile], rows_a_shard: int) -> list[Shard]:
    """Cut files into shards of whole row groups, in order; a file without rows is one, too."""
    shards: list[Shard] = []
    for source in inputs:
        groups: list[int] = []
        first, rows = 1, 0
        for group, count in enumerate(source.rows_of_groups):
            groups.append(group)
            rows += count
            if rows >= rows_a_shard:
                shards.append(_shard(len(shards), source, groups, first, rows))
                groups, first, rows = [], first + rows, 0
        if groups or not source.rows_of_groups:
            shards.append(_shard(len(shards), source, groups, first, rows))
    return shards


def open_rows(file: StoredFile) -> RowFile:
    """Open a file of posts by the kind that its name says; others than tar are Parquet.

    Raises:
        DataError: Not such a file, or a damaged one.
    """
    return TarRows(file) if file.is_tar else ParquetRows(file)


def open_shard(shard: Shard) -> RowFile:
    """Open the file of a shard.

    Raises:
        DataError: It cannot be read, or is not what it was when the job was planned.
    """
    rows = open_rows(shard.file)
    if rows.digest != shard.digest:
        rows.close()
        raise DataError(f"{shard.file.path} was changed while the job ran: restore it.")
    return rows


def images_of(file: StoredFile, images: Path | None) -> ImagePlace:
    """Return what a file's image paths are relative to: `images`, or the file's own folder."""
    folder = posixpath.dirname(file.path)
    if images is not None:
        return ImageFolder(images)
    if isinstance(file.filesystem, LocalFileSystem):
        return ImageFolder(Path(folder))
    return StoredImageFolder(file.filesystem, folder)


def _shard(number: int, source: InputFile, groups: list[int], first: int, rows: int) -> Shard:
    return Shard(number, source.file, tuple(groups), first, rows, source.digest)


def _read_footer(file: StoredFile, names: Mapping[str, str], kept: Collection[str]) -> InputFile:
    with closing(open_rows(file)) as rows:
        columns = rows.schema.names
        found = InputFile(file, rows.rows_of_groups, rows.digest)
    if not columns and not found.rows:  # an empty tar file
        return found
    twice = repeated_name(columns)
    if twice is not None:
        raise DataError(f"{file.path} has the column {twice!r} twice: rename one of them.")
    for ours, theirs in names.items():
        if theirs and theirs not in columns and not file.is_tar:  # whose samples may differ
            raise DataError(
                f"{file.path} has no column {theirs!r} for '{ours}', as other files of the job "
                "have: rename its column, or run a job of its own."
            )
    for name in kept:
        if name not in columns:
            raise DataError(f"{file.path} has no column {name!r} to keep: correct --keep.")
    return found
