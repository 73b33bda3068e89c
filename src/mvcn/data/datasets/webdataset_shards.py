"""Where the shards of a WebDataset are: one tar file, a folder of them, or a pattern."""

from pathlib import Path

from mvcn.data.stored_files import ADDRESS, TAR_SUFFIXES, StoredFile, find_files
from mvcn.errors import DataError


def find_shards(root: Path) -> list[StoredFile]:
    """Return the shards at `root` in the order of their paths.

    Args:
        root: A tar file, a folder of them, or a pattern with braces or asterisks, such as
            ``shards/{00000..00010}.tar``.

    Raises:
        DataError: There is none, or one of a range is missing.
    """
    return find_files(expand_braces(str(root)), TAR_SUFFIXES, "tar file")


def expand_braces(place: str) -> list[str]:
    """Return the places that a pattern with braces stands for, as the library WebDataset does.

    A place that is there, and one without braces, stands for itself.

    Raises:
        DataError: The braces do not match, or the library is not installed.
    """
    if "{" not in place or (ADDRESS.match(place) is None and Path(place).exists()):
        return [place]
    try:
        from webdataset.shardlists import expand_urls
    except ImportError as error:
        raise missing_library() from error
    try:
        return list(expand_urls(place))
    except ValueError as error:
        raise DataError(f"{place} has a brace that is not closed: correct it.") from error


def missing_library() -> DataError:
    """Return the error for somebody who has not installed the extra."""
    return DataError("WebDataset shards need a further library: pip install 'mvcn[webdataset]'.")
