"""The two files that a scored shard leaves, each of them whole or not there."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mvcn.errors import RunError, reason_of
from mvcn.files import PARTIAL, atomic_replace
from mvcn.inference.shards import Shard

PREDICTIONS = "predictions"
ERRORS = "errors"
ROWS_A_GROUP = 10_000


class GrowingTable:
    """A Parquet file that is written as rows come.

    Args:
        writer: Of the file.
        schema: Of the rows.
    """

    def __init__(self, writer: pq.ParquetWriter, schema: pa.Schema) -> None:
        self._writer = writer
        self._schema = schema
        self._waiting: list[pa.RecordBatch] = []
        self.rows = 0

    def add(self, rows: pa.RecordBatch) -> None:
        """Append rows; a row group is written when enough of them wait."""
        self._waiting.append(rows)
        self.rows += len(rows)
        if sum(map(len, self._waiting)) >= ROWS_A_GROUP:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._waiting:
            self._writer.write_table(pa.Table.from_batches(self._waiting, self._schema))
        self._waiting = []


def prediction_path(output: Path, shard: Shard) -> Path:
    """Return where the predictions of a shard are; a shard is finished when they are there."""
    return output / PREDICTIONS / f"{shard.name}.parquet"


def error_path(output: Path, shard: Shard) -> Path:
    """Return where the posts of a shard are that could not be scored."""
    return output / ERRORS / f"{shard.name}.parquet"


@contextmanager
def growing_table(path: Path, schema: pa.Schema) -> Iterator[GrowingTable]:
    """Open a Parquet file for writing that is there, on the disk, only when the block succeeds.

    Raises:
        RunError: The disk is full, or it cannot be written for another reason.
    """
    writer = f".{socket.gethostname()}-{os.getpid()}"
    try:
        with atomic_replace(path, writer) as partial, partial.open("wb") as file:
            with pq.ParquetWriter(file, schema) as parquet:
                table = GrowingTable(parquet, schema)
                yield table
                table.flush()
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise RunError(
            f"{path} cannot be written ({reason_of(error)}): make room or mend the folder, then "
            "run the command again, which goes on at this shard."
        ) from error


def count_rows(output: Path, shard: Shard) -> tuple[int, int] | None:
    """Return how many predictions and errors a finished shard has; None if it is not finished."""
    try:
        found, failed = (
            pq.read_metadata(path).num_rows
            for path in (prediction_path(output, shard), error_path(output, shard))
        )
    except (OSError, pa.ArrowException):
        return None
    return (found, failed) if found + failed == shard.rows else None


def remove_unfinished(output: Path) -> None:
    """Remove what killed processes have left half-written."""
    for folder in (PREDICTIONS, ERRORS):
        for path in (output / folder).glob(f"*{PARTIAL}"):
            path.unlink(missing_ok=True)
