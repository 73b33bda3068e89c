"""Posts of tables: CSV, TSV, JSON lines, Parquet and Excel files with one post a row."""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from mvcn.data.formats.columns import ANNOTATIONS, find_columns, log_columns
from mvcn.data.formats.posts import id_of_row, post_of_row, require_readable, without_surrogates
from mvcn.data.formats.registry import open_table
from mvcn.data.formats.rows import Row, Table, TableOptions
from mvcn.data.image_files import ImageFolder
from mvcn.data.image_references import ImagePlace
from mvcn.data.split_names import keep_splits
from mvcn.data.text import replace_surrogates
from mvcn.errors import DataError
from mvcn.types import Corpus, Post, StoredImage

NAMED_ROWS = 10
MIDNIGHT = " 00:00:00"
"""Of a date, whose time nobody has written."""

logger = logging.getLogger(__name__)


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
            `mvcn.data.formats.registry.OPENERS`.
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


class KeptCells:
    """The cells of a table as they are in it, to be written next to what was predicted for them.

    Args:
        path: The table.
        options: How its rows are read.
        id_column: Its column of ids; "" where the number of a row is its id.
    """

    def __init__(self, path: Path, options: TableOptions, id_column: str) -> None:
        self._path = path
        self._table = open_table(path, options)
        self._id_column = id_column

    @cached_property
    def columns(self) -> Sequence[str]:
        """The columns in their order, without those that hold image files."""
        held = {
            name for row in self._table.sample() for name, cell in row.items() if _holds_file(cell)
        }
        for name in held:
            logger.info("The column %r is not kept: its cells are image files.", name)
        return [name for name in self._table.columns if name not in held]

    @property
    def has_ids(self) -> bool:
        """Whether one of the columns is that of the ids."""
        return bool(self._id_column)

    def of(self, ids: Sequence[str]) -> Iterator[list[Any]]:
        """Yield the cells of the rows of some posts, in the order of the columns.

        Args:
            ids: Of the posts, in any order; rows are kept in memory where it is not that of the
                table.

        Raises:
            DataError: The table is not what it was when the posts were read.
        """
        requested, waiting = set(ids), dict[str, list[Any]]()
        rows = self._table.rows(None)
        for post_id in ids:
            while post_id not in waiting:
                row = next(rows, None)
                if row is None:
                    raise DataError(
                        f"{self._path} was changed while its posts were read: try again."
                    )
                if (found := id_of_row(row, self._id_column)) in requested:
                    require_readable(row, self.columns)
                    waiting[found] = [_plain(row.cells.get(name)) for name in self.columns]
            yield waiting.pop(post_id)


def _holds_file(cell: Any) -> bool:
    return isinstance(cell, bytes | StoredImage) or (isinstance(cell, Mapping) and "bytes" in cell)


def _plain(cell: Any) -> Any:
    """Return a cell as JSON has it, times and the like as text."""
    if isinstance(cell, str):
        return replace_surrogates(cell).text
    if cell is None or isinstance(cell, bool | int | float | list | dict):
        return cell
    return str(cell).removesuffix(MIDNIGHT)
