"""The word pieces of many texts in little memory."""

from array import array
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Int


class TokenIds:
    """The word piece ids of each text, in 8 bytes each; lists would take five times as much.

    Args:
        texts: The ids of each text.
    """

    def __init__(self, texts: Iterable[Sequence[int]] = ()) -> None:
        self._pieces = array("q")
        self._ends = array("q", [0])
        self.extend(texts)

    def extend(self, texts: Iterable[Sequence[int]]) -> None:
        """Add the ids of further texts."""
        for ids in texts:
            self._pieces.extend(ids)
            self._ends.append(len(self._pieces))

    @property
    def lengths(self) -> Int[np.ndarray, " texts"]:
        """The number of word pieces of each text."""
        return np.diff(np.frombuffer(self._ends, np.int64))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> list[int]:
        position = range(len(self))[index]
        return self._pieces[self._ends[position] : self._ends[position + 1]].tolist()

    def __iter__(self) -> Iterator[list[int]]:
        return (self[position] for position in range(len(self)))
