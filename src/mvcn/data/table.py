"""Tables of posts, one a row, read and written as CSV, TSV, JSON lines, Parquet or Excel."""

import csv
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

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
from mvcn.data.split_names import keep_splits
from mvcn.errors import ConfigError, DataError, MvcnError
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
"""How a file's name ends -> what opens it."""
OPTIONS_OF: dict[Opener, set[str]] = {
    open_csv: {"--encoding", "--quoting"},
    open_json_lines: {"--encoding"},
    open_json: {"--encoding"},
    open_excel: {"--sheet"},
}
"""What opens a file -> the options that it knows."""
WRITERS: dict[str, Writer] = {
    ".csv": csv_writer,
    ".tsv": partial(csv_writer, separator="\t"),
    ".jsonl": json_lines_writer,
    ".ndjson": json_lines_writer,
    ".parquet": parquet_writer,
    ".xlsx": excel_writer,
}
"""How a file's name ends -> what writes it."""
HEADERS: dict[str, Callable[[Path], Sequence[str]]] = {
    ".csv": csv_header,
    ".tsv": partial(csv_header, separator="\t"),
    ".jsonl": json_lines_keys,
    ".ndjson": json_lines_keys,
    ".parquet": lambda path: open_parquet(path, TableOptions()).columns,
    ".xlsx": lambda path: open_excel(path, TableOptions()).columns,
}
"""How a file's name ends -> what reads its columns as the writer has written them."""
BINARY = (".parquet", ".xlsx")
OTHER_SPREADSHEETS = (".xls", ".xlsm", ".xlsb", ".ods", ".numbers")
NAMED_ROWS = 10

logger = logging.getLogger(__name__)


def open_table(path: Path, options: TableOptions) -> Table:
    """Open a file of rows by the end of its name.

    Raises:
        ConfigError: An option that this kind of file has no use for.
        DataError: Not such a file; names it.
    """
    opener = OPENERS.get(path.suffix.lower())
    if opener is None and path.is_dir():
        raise DataError(
            f"{path} is a folder, not a table: say by --data what it holds, such as image-folder "
            "or prepared."
        )
    if opener is None:
        first = "save it as .xlsx, or " if path.suffix.lower() in OTHER_SPREADSHEETS else ""
        raise DataError(
            f"{path} is not a table that can be read: {first}give a file whose name ends in "
            f"{', '.join(OPENERS)}."
        )
    useless = set(options.given) - OPTIONS_OF.get(opener, set()) - {"--normalize-labels"}
    if useless:
        raise ConfigError(f"{path} is no file for {', '.join(sorted(useless))}: leave it out.")
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
        ConfigError: The file's name does not say a format that can be written.
        DataError: A column comes twice, or the format cannot hold so many rows or columns.
    """
    twice = repeated_name(columns)
    if twice is not None:
        raise DataError(f"{path} would have the column {twice!r} twice: rename one of them.")
    return WRITERS[_format_of(path)](path, columns)


def require_writable_table(path: Path) -> None:
    """Raise a ConfigError unless a table can be written to `path`: for before any work.

    The name of the file, or of the one that it links to, says the format; to a pipe or a device
    goes CSV where its name says nothing else.
    """
    suffix = _format_of(path)
    if suffix in BINARY and is_special(path):
        raise ConfigError(f"{path} is a pipe or a device, which cannot hold {suffix}: name a file.")
    if suffix == ".xlsx":
        require_openpyxl()


def read_column_names(path: Path) -> list[str]:
    """Return the columns of a table as `table_writer` writes it; none if it is no such file."""
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
        f"{path} is no table that can be written: name a file that ends in {', '.join(WRITERS)}."
    )


def read_table(
    path: Path,
    *,
    splits: Collection[str] | None = None,
    columns: Mapping[str, str] | None = None,
    images: Path | None = None,
    options: TableOptions | None = None,
) -> Corpus:
    """Read a file with one post a row, in its order; the kind of file is in its name.

    Columns are ``text`` and ``image``, one of which may be missing, and optionally ``label``,
    ``id``, ``text_label``, ``image_label``, ``attributes`` (words for what is in the image) and
    ``split``, under these names or those in `mvcn.data.formats.columns.ALIASES`; the log says which
    were read. An image is a path inside the file's folder, base64 text, or bytes. Images inside
    Parquet and JSON lines are read when they are needed, base64 text in CSV at once. Without ids, a
    post's id is the number of its row. Whole numbers among labels and ids, as in ``1.0``, are
    written without a fraction. Classes are the labels in alphabetical order, numbers by size.

    Args:
        path: CSV or TSV, JSON lines or list, Parquet, or an Excel workbook; see
            `mvcn.data.table.OPENERS`.
        splits: Which posts to return, by their split, where any row has one. Those of a row
            without one, or with one that is none of ours, are then left out and counted.
        columns: Our name of a column -> its name in the file, "" for one that is not to be read.
        images: What image paths are relative to, and must stay inside; else the file's folder.
        options: How rows are read.

    Raises:
        ConfigError: `columns` names a column that is not one of ours, or one of theirs twice.
        DataError: Not such a file; names the file and, where there are some, the first rows.
    """
    table = open_table(path, options or TableOptions())
    if images is not None and not images.is_dir():
        raise DataError(f"There is no folder {images} of images: correct --images.")
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
    """Make posts of the rows of a table, and log which columns they were made of.

    Args:
        table: The rows, with the names of their columns.
        where: Where they come from, for errors.
        folder: What image paths are relative to.
        columns: Our name of a column -> theirs, where it is not to be found by its name.
        splits: Which posts to return, where any row has a split.
        options: How rows are read.

    Raises:
        ConfigError: See `mvcn.data.formats.columns.find_columns`.
        DataError: A row or a column is not as it should be.
    """
    options = options or TableOptions()
    if not table.columns:
        raise DataError(_no_rows(where))
    names = find_columns(
        table.columns,
        table.sample,
        where,
        given=columns,
        remembered=options.remembered,
        unread=() if options.reads_labels else (*ANNOTATIONS, *([] if splits else ["split"])),
    )
    for theirs in filter(None, names.values()):
        if theirs in table.repeated:
            raise DataError(f"{where} has the column {theirs!r} twice: rename one of them.")
    log_columns(names, table.columns, where, table.layout)
    rows = table.rows(names)
    corpus = corpus_of_rows(rows, where, folder, names, normalize=options.normalize_labels)
    return keep_splits(corpus, splits, where)


def corpus_of_rows(
    rows: Iterable[Row],
    where: str,
    folder: ImagePlace,
    names: Mapping[str, str],
    *,
    normalize: bool = False,
) -> Corpus:
    """Make posts of rows that have columns.

    Args:
        rows: In their order.
        where: Where they come from, for errors.
        folder: What image paths are relative to.
        names: Our name of each column -> theirs, "" for one that there is not.
        normalize: Whether labels that differ in case or whitespace alone are one class.

    Raises:
        DataError: Rows are not as they should be; names the first of them and their number.
    """
    read = _ReadPosts(where)
    found = {ours: theirs for ours, theirs in names.items() if theirs}
    for row in rows:
        try:
            complete, replaced = without_surrogates(row, found)
            post = post_of_row(complete, found, folder, normalize=normalize)
            read.add(post, row.where, replaced)
        except DataError as error:
            read.refuse(error)
    read.finish()
    classes = {post.label for post in read.posts if post.label is not None}
    return Corpus(read.posts, _in_order(classes), columns=found)


class _ReadPosts:
    """The posts of a file as they are read, and what is wrong with other rows."""

    def __init__(self, where: str) -> None:
        self.posts: list[Post] = []
        self._where = where
        self._where_of: dict[str, str] = {}
        self._labels: dict[str, str] = {}
        self._refused: list[str] = []
        self._num_refused = 0
        self._replaced: list[str] = []

    def add(self, post: Post, where: str, replaced: int) -> None:
        """Take a post in, and note in how many of its cells surrogates were replaced.

        Raises:
            DataError: Another one had its id.
        """
        if post.id in self._where_of:
            raise DataError(
                f"{where}: id {post.id[:80]!r} was given before ({self._where_of[post.id]}), "
                "so change one of them, or leave ids out by --columns id= to number the rows."
            )
        self._where_of[post.id] = where
        self._replaced += [where] * replaced
        for label in (post.label, post.text_label, post.image_label):
            if label is not None:
                self._labels.setdefault(label, where)
        self.posts.append(post)

    def refuse(self, error: DataError) -> None:
        """Note what is wrong with a row."""
        self._num_refused += 1
        if len(self._refused) < NAMED_ROWS:
            self._refused.append(str(error))

    def finish(self) -> None:
        """Log what was replaced.

        Raises:
            DataError: There were bad rows, none at all, or labels that are nearly the same.
        """
        if self._num_refused == 1:
            raise DataError(self._refused[0])
        if self._refused:
            more = self._num_refused - len(self._refused)
            rows = [*self._refused, *([f"and {more} more rows."] if more else [])]
            listed = "\n  ".join(rows)
            raise DataError(f"{self._where} has {self._num_refused} bad rows:\n  {listed}")
        if not self.posts:
            raise DataError(_no_rows(self._where))
        _require_distinct(self._labels)
        if self._replaced:
            logger.warning(
                "%s: %d cell(s) hold half a surrogate pair, which is read as U+FFFD; the first is "
                "in %s.",
                *(self._where, len(self._replaced), self._replaced[0]),
            )


def _no_rows(where: str) -> str:
    return f"{where} has no rows below its header: add one row a post."


def _require_distinct(labels: Mapping[str, str]) -> None:
    """Raise a DataError where two labels differ in case or whitespace alone."""
    seen: dict[str, str] = {}
    for label, where in labels.items():
        other = seen.setdefault(" ".join(label.split()).casefold(), label)
        if other != label:
            raise DataError(
                f"{where}: label {label[:80]!r} differs from {other[:80]!r} ({labels[other]}) in "
                "case or whitespace alone: write them alike, or join them by --normalize-labels."
            )


def _in_order(names: Collection[str]) -> tuple[str, ...]:
    """Return class names in alphabetical order; whole numbers by size."""
    if all(n.removeprefix("-").isdecimal() for n in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))
