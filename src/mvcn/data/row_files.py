"""The files of a job over very many posts: Parquet files, or tar files of WebDataset."""

import logging
import posixpath
from collections.abc import Sequence

from mvcn.data.datasets.webdataset_shards import expand_braces
from mvcn.data.formats.batches import RowFile
from mvcn.data.parquet_batches import ParquetRows
from mvcn.data.stored_files import SUFFIX, TAR_SUFFIXES, StoredFile, find_files, is_tar
from mvcn.data.webdataset_batches import TarRows
from mvcn.errors import DataError

LOGGER = logging.getLogger(__name__)


def find_row_files(places: Sequence[str]) -> list[StoredFile]:
    """Return the Parquet or tar files at some places, each once, in the order of their paths.

    A Parquet file beside a tar file of the same name, as img2dataset writes it, repeats what the
    tar file holds and is left out.

    Args:
        places: As for `find_parquet_files`, and patterns such as ``posts/{000..120}.tar``.

    Raises:
        DataError: There are no such files, or files of both kinds.
    """
    expanded = [one for place in places for one in expand_braces(place)]
    files = find_files(expanded, (SUFFIX, *TAR_SUFFIXES), "Parquet or tar file")
    tars = {_stem(file) for file in files if is_tar(file)}
    rows = [file for file in files if is_tar(file) or _stem(file) not in tars]
    if len(rows) < len(files):
        LOGGER.info("%d Parquet files beside tar files are not read.", len(files) - len(rows))
    if len({is_tar(file) for file in rows}) > 1:
        both = [next(file.path for file in rows if is_tar(file) == kind) for kind in (False, True)]
        raise DataError(
            f"There are Parquet files ({both[0]}) and tar files ({both[1]}): name those of one "
            "kind by a glob such as 'posts/*.tar'."
        )
    return rows


def open_rows(file: StoredFile) -> RowFile:
    """Open a file of posts by the kind that its name says; others than tar are Parquet.

    Raises:
        DataError: Not such a file, or a damaged one.
    """
    return TarRows(file) if is_tar(file) else ParquetRows(file)


def _stem(file: StoredFile) -> str:
    return posixpath.splitext(file.path)[0]
