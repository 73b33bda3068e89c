"""Tables of posts, one a row, read and written as CSV, TSV, JSON lines, Parquet or Excel."""

import csv
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from tqdm import tqdm

from mvcn.data.formats.columns import ANNOTATIONS, find_columns, log_columns
from mvcn.data.formats.csv import csv_header, csv_writer, open_csv
from mvcn.data.formats.excel import excel_writer, open_excel, require_openpyxl
from mvcn.data.formats.json_lines import (
    json_lines_keys,
    json_lines_writer,
    open_json,
    open_json_lines,
)
from mvcn.data.formats.parquet import open_parquet, parquet_writer
from mvcn.data.formats.posts import post_of_row, without_surrogates
from mvcn.data.formats.rows import Row, Table, TableOptions, WriteRow, repeated_name
from mvcn.data.image_files import ImageFolder
from mvcn.data.image_references import ImagePlace
from mvcn.data.images import SECONDS_UNSEEN
from mvcn.data.row_errors import RowErrors
from mvcn.data.split_names import keep_splits
from mvcn.errors import ConfigError, DataError, MvcnError, count_of
from mvcn.files import is_special
from mvcn.types import Corpus, Post

Opener = Callable[[Path, TableOptions], Table]
Writer = Callable[[Path, Sequence[str]], AbstractContextManager[WriteRow]]

OPENERS: dict[str, Opener] = {
    **dict.fromkeys((".csv", ".tsv", ".tab", ".txt"), open_csv),
    **dict.fromkeys((".jsonl", ".ndjson"), open_json_lines),
    ".json": open_json,
    ".parquet": open_parquet,
    ".xlsx": open_excel,
}
"""Suffix of a file -> function that opens it."""
OPTIONS_OF: dict[Opener, set[str]] = {
    open_csv: {"--encoding", "--quoting"},
    open_json_lines: {"--encoding"},
    open_json: {"--encoding"},
    open_excel: {"--sheet"},
}
"""Function that opens a file -> its options."""
WRITERS: dict[str, Writer] = {
    ".csv": csv_writer,
    ".tsv": partial(csv_writer, separator="\t"),
    ".jsonl": json_lines_writer,
    ".ndjson": json_lines_writer,
    ".parquet": parquet_writer,
    ".xlsx": excel_writer,
}
"""Suffix of a file -> function that writes it."""
HEADERS: dict[str, Callable[[Path], Sequence[str]]] = {
    ".csv": csv_header,
    ".tsv": partial(csv_header, separator="\t"),
    ".jsonl": json_lines_keys,
    ".ndjson": json_lines_keys,
    ".parquet": lambda path: open_parquet(path, TableOptions()).columns,
    ".xlsx": lambda path: open_excel(path, TableOptions()).columns,
}
"""Suffix of a file -> function that reads the columns of a table we wrote."""
BINARY = (".parquet", ".xlsx")
COMPRESSED = (".gz", ".zip", ".bz2", ".xz", ".zst", ".7z")
OTHER_SPREADSHEETS = (".xls", ".xlsm", ".xlsb", ".ods", ".numbers")

logger = logging.getLogger(__name__)
QUICK_ROWS = 1_000
"""Rows of a table up to which no progress is shown."""


def open_table(path: Path, options: TableOptions) -> Table:
    """Open a table in the format of its suffix.

    Raises:
        ConfigError: An option does not apply to this format.
        DataError: Not a valid table; names the file.
    """
    opener = OPENERS.get(path.suffix.lower())
    if opener is None and path.is_dir():
        raise DataError(
            f"{path} is a folder, not a table: say what it holds, as in --data image-folder or "
            "--data prepared."
        )
    if opener is None:
        remedies = dict.fromkeys(OTHER_SPREADSHEETS, "save it as .xlsx, or ")
        remedies |= dict.fromkeys(COMPRESSED, "unpack it first, or ")
        first = remedies.get(path.suffix.lower(), "")
        raise DataError(
            f"{path} is not a table of a supported format: {first}use a file that ends in "
            f"{', '.join(OPENERS)}."
        )
    unused = set(options.given) - OPTIONS_OF.get(opener, set()) - {"--normalize-labels"}
    if unused:
        raise ConfigError(
            f"{', '.join(sorted(unused))} cannot be used with {path.suffix} files such as {path}: "
            "leave it out."
        )
    return opener(path, options)


def table_writer(path: Path, columns: Sequence[str]) -> AbstractContextManager[WriteRow]:
    """Open a table for writing, which replaces `path` only when the ``with`` block succeeds.

    JSON lines, Parquet and Excel keep the types of cells; CSV and TSV hold `as_text`, quoted where
    needed. Memory does not grow with the number of rows.

    Args:
        path: Where to write; see `require_writable_table`.
        columns: Names of the columns.

    Returns:
        A context manager of a function that writes one row.

    Raises:
        ConfigError: The suffix is not one of a format that can be written.
        DataError: A column is given twice, or the format cannot hold so many rows or columns.
    """
    repeated = repeated_name(columns)
    if repeated is not None:
        raise DataError(f"{path} would have the column {repeated!r} twice: rename one of them.")
    return WRITERS[_format_of(path)](path, columns)


def require_writable_table(path: Path) -> None:
    """Raise a ConfigError unless a table can be written to `path`, before any work is done.

    The suffix of the file, or of the one that it links to, determines the format; it is CSV for a
    pipe or a device without one.
    """
    suffix = _format_of(path)
    if suffix in BINARY and is_special(path):
        raise ConfigError(f"{path} is a pipe or a device, which cannot hold {suffix}: use a file.")
    if suffix == ".xlsx":
        require_openpyxl()


def read_column_names(path: Path) -> list[str]:
    """Return the columns of a table written by `table_writer`; none if it is not such a file."""
    try:
        return list(HEADERS[_format_of(path)](path))
    except (MvcnError, csv.Error, OSError, ValueError, RecursionError):
        return []


def _format_of(path: Path) -> str:
    for name in (path, path.resolve()):
        if name.suffix.lower() in WRITERS:
            return name.suffix.lower()
    if is_special(path):
        return ".csv"
    raise ConfigError(
        f"{path} is not a table of a supported format: use a file that ends in "
        f"{', '.join(WRITERS)}."
    )


def read_table(
    path: Path,
    *,
    splits: Collection[str] | None = None,
    columns: Mapping[str, str] | None = None,
    images: Path | None = None,
    options: TableOptions | None = None,
) -> Corpus:
    """Read a table with one post per row, in the format of its suffix.

    Columns are ``text`` and ``image``, one of which may be missing, and optionally ``label``,
    ``id``, ``text_label``, ``image_label``, ``attributes`` (words that describe the image) and
    ``split``, under these names or those in `mvcn.data.formats.columns.ALIASES`; those that were
    read are logged. An image is a path inside the file's folder, base64 text, or bytes. Images
    inside Parquet and JSON lines are read on demand, base64 text in CSV immediately. Without ids,
    a post's id is the number of its row. Integers among labels and ids, such as ``1.0``, are
    written without a fraction. Classes are the labels in alphabetical order, numbers by size.

    Args:
        path: CSV or TSV, JSON lines or list, Parquet, or an Excel workbook; see
            `mvcn.data.table.OPENERS`.
        splits: Splits of the posts to return, if any row has one. Posts of no split or of an
            unknown one are then left out and counted.
        columns: Our name of a column -> its name in the file; "" to ignore it.
        images: Folder that image paths are relative to and must stay inside; by default that of
            the file.
        options: How rows are read.

    Raises:
        ConfigError: `columns` has an unknown name, or maps two of ours to one column.
        DataError: The file is invalid; names it and the first bad rows, if any.
    """
    table = open_table(path, options or TableOptions())
    if images is not None and not images.is_dir():
        raise DataError(f"The image folder {images} does not exist: check --images.")
    folder = ImageFolder(path.parent if images is None else images)
    return corpus_of_table(table, str(path), folder, columns, splits, options)


def corpus_of_table(
    table: Table,
    where: str,
    folder: ImagePlace,
    columns: Mapping[str, str] | None = None,
    splits: Collection[str] | None = None,
    options: TableOptions | None = None,
) -> Corpus:
    """Convert the rows of a table to posts, and log which columns were read.

    Args:
        table: The rows and their columns.
        where: Location of the table, for errors.
        folder: Folder that image paths are relative to.
        columns: Our name of a column -> its name in the table, where not found by its name.
        splits: Splits of the posts to return, if any row has one.
        options: How rows are read.

    Raises:
        ConfigError: See `mvcn.data.formats.columns.find_columns`.
        DataError: A row or a column is invalid.
    """
    options = options or TableOptions()
    if not table.columns:
        raise DataError(_no_rows(where))
    unread = () if options.reads_labels else (*ANNOTATIONS, *([] if splits else ["split"]))
    remembered = options.remembered
    names = find_columns(
        table.columns, table.sample, where, given=columns, remembered=remembered, unread=unread
    )
    for theirs in filter(None, names.values()):
        if theirs in table.repeated:
            raise DataError(f"{where} has the column {theirs!r} twice: rename one of them.")
    log_columns(names, table.columns, where, table.layout)
    corpus = corpus_of_rows(
        *(table.rows(names), where, folder, names),
        normalize=options.normalize_labels,
        num_rows=table.num_rows,
    )
    return keep_splits(corpus, splits, where)


def corpus_of_rows(
    rows: Iterable[Row],
    where: str,
    folder: ImagePlace,
    names: Mapping[str, str],
    *,
    normalize: bool = False,
    num_rows: int | None = None,
) -> Corpus:
    """Convert rows to posts.

    Args:
        rows: Rows in order.
        where: Location of the rows, for errors.
        folder: Folder that image paths are relative to.
        names: Our name of each column -> its name in the rows; "" for a missing one.
        normalize: Whether labels that differ only in case or whitespace are one class.
        num_rows: Number of rows, if it is known, for the progress that is shown.

    Raises:
        DataError: Rows are invalid; names the first of them and counts all.
    """
    read, errors = _ReadPosts(where), RowErrors(where)
    found = {ours: theirs for ours, theirs in names.items() if theirs}
    is_quick = num_rows is not None and num_rows <= QUICK_ROWS
    for row in tqdm(rows, "Posts", num_rows, unit="post", delay=SECONDS_UNSEEN, disable=is_quick):
        with errors.collect():
            complete, replaced = without_surrogates(row, found)
            post = post_of_row(complete, found, folder, normalize=normalize)
            read.add(post, row.where, replaced)
    errors.require_none()
    read.finish()
    classes = {post.label for post in read.posts if post.label is not None}
    return Corpus(read.posts, _in_order(classes), columns=found)


class _ReadPosts:
    """The posts read so far."""

    def __init__(self, where: str) -> None:
        self.posts: list[Post] = []
        self._where = where
        self._where_of: dict[str, str] = {}
        self._labels: dict[str, str] = {}
        self._replaced: list[str] = []

    def add(self, post: Post, where: str, replaced: int) -> None:
        """Add a post; `replaced` is the number of its cells with replaced surrogates.

        Raises:
            DataError: Another post has its id.
        """
        if post.id in self._where_of:
            raise DataError(
                f"{where}: id {post.id[:80]!r} has already appeared ({self._where_of[post.id]}): "
                "change one of the two, or number the rows instead with --columns id=."
            )
        self._where_of[post.id] = where
        self._replaced += [where] * replaced
        for label in (post.label, post.text_label, post.image_label):
            if label is not None:
                self._labels.setdefault(label, where)
        self.posts.append(post)

    def finish(self) -> None:
        """Log replaced surrogates.

        Raises:
            DataError: There are none, or labels differ only in case or whitespace.
        """
        if not self.posts:
            raise DataError(_no_rows(self._where))
        _require_distinct(self._labels)
        if self._replaced:
            logger.warning(
                "%s: %s half a surrogate pair, which is replaced by U+FFFD; the first is in %s.",
                *(self._where, count_of(len(self._replaced), "cell holds", "cells hold")),
                self._replaced[0],
            )


def _no_rows(where: str) -> str:
    return f"{where} has no rows below its header: add one row per post."


def _require_distinct(labels: Mapping[str, str]) -> None:
    """Raise a DataError if two labels differ only in case or whitespace."""
    seen: dict[str, str] = {}
    for label, where in labels.items():
        other = seen.setdefault(" ".join(label.split()).casefold(), label)
        if other != label:
            raise DataError(
                f"{where}: label {label[:80]!r} differs from {other[:80]!r} ({labels[other]}) only "
                "in case or whitespace: write them alike, or merge them with --normalize-labels."
            )


def _in_order(names: Collection[str]) -> tuple[str, ...]:
    """Return class names in alphabetical order; integers by value."""
    if all(n.removeprefix("-").isdecimal() for n in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))
