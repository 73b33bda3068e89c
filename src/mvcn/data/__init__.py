"""Where posts come from: a reader for each kind of source, all returning a `Corpus`."""

from collections.abc import Callable
from pathlib import Path

from mvcn.data.mvsa_single import read_mvsa_single
from mvcn.data.table import read_table
from mvcn.errors import DataError
from mvcn.types import Corpus

__all__ = ["DATASETS", "read_corpus"]

DATASETS: dict[str, Callable[[Path], Corpus]] = {
    "mvsa-single": read_mvsa_single,
    "table": read_table,
}
"""Name of a kind of source -> what reads one from a folder or file."""


def read_corpus(name: str, root: Path) -> Corpus:
    """Read the posts of the source at `root` with the reader called `name`.

    Raises:
        DataError: There is no such reader, or it cannot read what is at `root`.
    """
    if name not in DATASETS:
        raise DataError(f"There is no data set {name!r}: choose one of {', '.join(DATASETS)}.")
    return DATASETS[name](root)
