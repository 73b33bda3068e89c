"""Posts of WebDataset shards, a few samples in memory at a time."""

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from mvcn.data.datasets.webdataset_samples import columns_of, read_samples, row_of
from mvcn.data.formats.posts import RowFile, UnreadableCell
from mvcn.data.formats.rows import Row
from mvcn.data.stored_files import StoredFile
from mvcn.data.stored_images import TarMember, version_of
from mvcn.errors import DataError

SAMPLES_AT_ONCE = 256


class TarRows(RowFile):
    """A shard of a WebDataset as rows of posts, all of them in one group.

    Args:
        file: The tar file, whose members are listed at once.

    Raises:
        DataError: Not such a file, or a damaged one.
    """

    def __init__(self, file: StoredFile) -> None:
        self._file = file
        self._version = version_of(file)
        self._samples = list(read_samples(file))
        self.rows_of_groups = (len(self._samples),)
        # Of the first samples, as text; members that are the text or the image already apart.
        names, self.repeated_columns = columns_of(self._samples)
        self.schema = pa.schema([pa.field(name, pa.string()) for name in names])

    def sample(self) -> Iterable[Mapping[str, Any]]:
        """Return nothing: what a member is, its name tells."""
        return ()

    @property
    def digest(self) -> str:
        """Of the names, places and sizes of all members."""
        digest = hashlib.blake2b(digest_size=16)
        for sample in self._samples:
            for member in sample.members.values():
                digest.update(repr((member.name, member.offset, member.size_bytes)).encode())
        return digest.hexdigest()

    def read(
        self,
        row_groups: Sequence[int],
        first_row: int,
        names: Mapping[str, str],
        kept: Collection[str],
    ) -> Iterator[tuple[Sequence[Row], pa.RecordBatch]]:
        """Yield the samples of the shard as rows; see `RowFile.batches`."""
        columns = [name for name in self.schema.names if name in kept]
        schema = pa.schema([self.schema.field(name) for name in columns])
        for start in range(0, len(self._samples), SAMPLES_AT_ONCE):
            chunk = self._samples[start : start + SAMPLES_AT_ONCE]
            rows = [row_of(sample, names) for sample in chunk]
            arrays = [pa.array([_kept(row, name) for row in rows], pa.string()) for name in columns]
            yield rows, pa.record_batch(arrays, schema)
        if version_of(self._file) != self._version:
            raise DataError(f"{self._file.path} was changed while the job ran: restore it.")

    def close(self) -> None:
        """Do nothing: no file is open."""


def _kept(row: Row, column: str) -> str | None:
    """Return a cell as text."""
    cell: Any = row.cells.get(column)
    if cell is None or isinstance(cell, UnreadableCell):
        return None
    if isinstance(cell, TarMember):
        return cell.name
    return cell if isinstance(cell, str) else json.dumps(cell, ensure_ascii=False)
