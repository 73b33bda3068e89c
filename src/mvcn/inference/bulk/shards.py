"""Shards of a job, each with row groups of one input file and two output files."""

import json
import os
import posixpath
import re
import socket
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import LocalFileSystem

from mvcn.data.datasets.webdataset import TarRows
from mvcn.data.formats.parquet import ParquetRows
from mvcn.data.formats.posts import RowFile
from mvcn.data.formats.rows import repeated_name
from mvcn.data.image_files import ImageFolder, StoredImageFolder
from mvcn.data.image_references import ImagePlace
from mvcn.data.stored_files import StoredFile
from mvcn.errors import DataError, RunError, reason_of
from mvcn.files import atomic_replace
from mvcn.runtime.text_counts import TextCounts

ROWS_A_SHARD = 10_000
"""Default size, which limits what is lost when a worker is killed."""
FOOTERS_AT_ONCE = 8
MAX_NAME_CHARACTERS = 100
PREDICTIONS = "predictions"
ERRORS = "errors"
ROWS_A_GROUP = 10_000
"""Of a file of predictions."""
TEXT_COUNTS = "mvcn.text_counts"
"""Key in the footer of a file of predictions."""


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file with the facts of its footer, or of its members' headers."""

    file: StoredFile
    rows_of_groups: tuple[int, ...]
    digest: str
    """See `RowFile.digest`."""

    @property
    def rows(self) -> int:
        """Of all groups."""
        return sum(self.rows_of_groups)


@dataclass(frozen=True, slots=True)
class Shard:
    """Rows that are scored together, into one file of predictions and one of errors."""

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
        """Name of its files: the number in the job, and the input's name."""
        stem = posixpath.splitext(posixpath.basename(self.file.path))[0]
        readable = re.sub(r"[^\w.-]", "_", stem, flags=re.ASCII)
        return f"{self.number:06d}-{readable[:MAX_NAME_CHARACTERS]}"


def read_footers(
    files: Sequence[StoredFile], names: Mapping[str, str], kept: Collection[str] = ()
) -> list[InputFile]:
    """Read the footer of each file, and check that it has the columns of posts.

    Args:
        files: The job's input.
        names: Our name of each column -> theirs, which must exist.
        kept: Columns of theirs that must exist as well.

    Raises:
        DataError: A file is of another kind than its name, or a column is missing.
    """
    read = partial(_read_footer, names=names, kept=kept)
    with ThreadPoolExecutor(FOOTERS_AT_ONCE) as pool:
        return list(pool.map(read, files))


def split_into_shards(inputs: Sequence[InputFile], rows_a_shard: int) -> list[Shard]:
    """Return shards of complete row groups, in order; a file without rows is a shard as well."""
    shards: list[Shard] = []
    for one in inputs:
        begin, first, rows = 0, 1, 0
        sizes = one.rows_of_groups
        for end, size in enumerate(sizes or (0,), start=1):
            rows += size
            if rows >= rows_a_shard or end >= len(sizes):
                groups = tuple(range(begin, end)) if sizes else ()
                shards.append(Shard(len(shards), one.file, groups, first, rows, one.digest))
                begin, first, rows = end, first + rows, 0
    return shards


def open_rows(file: StoredFile) -> RowFile:
    """Open a file of posts: tar by its name, otherwise Parquet.

    Raises:
        DataError: It is of another kind, or damaged.
    """
    return TarRows(file) if file.is_tar else ParquetRows(file)


def open_shard(shard: Shard) -> RowFile:
    """Open the file of a shard.

    Raises:
        DataError: It cannot be read, or was changed since the job was planned.
    """
    rows = open_rows(shard.file)
    if rows.digest != shard.digest:
        rows.close()
        raise DataError(
            f"{shard.file.path} was changed while the job ran: put the original back, and run the "
            "command again."
        )
    return rows


def images_of(file: StoredFile, images: Path | None) -> ImagePlace:
    """Return what a file's image paths are relative to: `images`, or the file's own folder."""
    folder = posixpath.dirname(file.path)
    if images is not None:
        return ImageFolder(images)
    if isinstance(file.filesystem, LocalFileSystem):
        return ImageFolder(Path(folder))
    return StoredImageFolder(file.filesystem, folder)


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
                f"{file.path} has no column {theirs!r} for '{ours}', which the other files have: "
                "rename its column, or run another command for it."
            )
    for name in kept:
        if name not in columns:
            raise DataError(f"{file.path} has no column {name!r}: fix --keep.")
    return found


def output_paths(output: Path, shard: Shard) -> tuple[Path, Path]:
    """Return the files of a shard's predictions and errors; with both there, it is finished."""
    name = f"{shard.name}.parquet"
    return output / PREDICTIONS / name, output / ERRORS / name


def count_rows(output: Path, shard: Shard) -> tuple[int, int] | None:
    """Return how many predictions and errors a finished shard has; None if it is not finished."""
    try:
        found, failed = (pq.read_metadata(path).num_rows for path in output_paths(output, shard))
    except (OSError, pa.ArrowException):
        return None
    return (found, failed) if found + failed == shard.rows else None


def read_text_counts(output: Path, shard: Shard) -> TextCounts:
    """Return how much of the texts of a finished shard was read."""
    footer = pq.read_metadata(output_paths(output, shard)[0])
    return TextCounts(**json.loads(footer.metadata[TEXT_COUNTS.encode()]))


class GrowingTable:
    """A Parquet file that is written incrementally.

    Args:
        writer: Of the file.
        schema: Of the rows.
    """

    def __init__(self, writer: pq.ParquetWriter, schema: pa.Schema) -> None:
        self._writer = writer
        self._schema = schema
        self._pending: list[pa.RecordBatch] = []
        self.rows = 0

    def add(self, rows: pa.RecordBatch) -> None:
        """Append rows; a row group is written when enough are pending."""
        self._pending.append(rows)
        self.rows += len(rows)
        if sum(map(len, self._pending)) >= ROWS_A_GROUP:
            self.flush()

    def add_text_counts(self, counts: TextCounts) -> None:
        """Write to the footer how much of the texts was read."""
        self._writer.add_key_value_metadata({TEXT_COUNTS: json.dumps(asdict(counts))})

    def flush(self) -> None:
        """Write the pending rows."""
        if self._pending:
            self._writer.write_table(pa.Table.from_batches(self._pending, self._schema))
        self._pending = []


@contextmanager
def growing_table(path: Path, schema: pa.Schema) -> Iterator[GrowingTable]:
    """Open a Parquet file for writing that is stored only if the block succeeds.

    Raises:
        RunError: It cannot be written, for example because the disk is full.
    """
    writer = f".{socket.gethostname()}-{os.getpid()}"
    try:
        with atomic_replace(path, writer) as unfinished, unfinished.open("wb") as file:
            with pq.ParquetWriter(file, schema) as parquet:
                table = GrowingTable(parquet, schema)
                yield table
                table.flush()
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise RunError(
            f"{path} cannot be written ({reason_of(error)}): free some space or fix the folder, "
            "then run the command again, which resumes at this shard."
        ) from error
