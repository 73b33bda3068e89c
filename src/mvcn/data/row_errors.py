"""Errors of the rows of a file, reported together."""

from collections.abc import Iterator
from contextlib import contextmanager

from mvcn.errors import DataError, count_of

NAMED_ROWS = 10


class RowErrors:
    """The errors of rows, of which one error names the first ten and counts all.

    Args:
        where: The file or folder of the rows.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._first: list[str] = []
        self._count = 0

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Record a DataError of the block, which is about one row, instead of raising it."""
        try:
            yield
        except DataError as error:
            self._count += 1
            if len(self._first) < NAMED_ROWS:
                self._first.append(str(error))

    def require_none(self) -> None:
        """Raise a DataError if any error was recorded."""
        if self._count == 1:
            raise DataError(self._first[0])
        if self._count:
            more = self._count - len(self._first)
            rest = [f"and {count_of(more, 'more row')}."] if more else []
            listed = "\n  ".join([*self._first, *rest])
            raise DataError(f"{self._where} has {self._count} bad rows:\n  {listed}")
