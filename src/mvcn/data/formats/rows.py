"""Rows of a file of posts, whatever its format: cells by the name of their column."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from mvcn.errors import DataError, reason_of
from mvcn.files import require_allowed
from mvcn.types import Quoting, StoredImage

Item = TypeVar("Item")
WriteRow: TypeAlias = Callable[[Sequence[Any]], None]
"""Takes the cells of a row in the order of the columns: text, numbers, true and false, bytes,
lists, dictionaries, or None."""

MAX_CELL_CHARACTERS = 20_000_000
"""Room for an image as base64 text."""
SAMPLE_ROWS = 100
"""Rows by which the kind of a column is recognised."""
EMPTY_TABLE = "is empty: it needs a header such as id,text,image,label."


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file."""

    cells: Mapping[str, Any]
    number: int
    """1 is the first row."""
    where: str
    """File, row and line, for errors."""
    image: StoredImage | None = None
    """How to read the image again later, where the cell itself holds it."""
    default_id: str = ""
    """Id of the post where there is no column of ids; else the number of the row."""


@dataclass(frozen=True, slots=True)
class TableOptions:
    """How the rows of a file are read."""

    encoding: str | None = None
    """A Python codec; else what a byte-order mark says, else UTF-8."""
    quoting: Quoting = "auto"
    sheet: str | None = None
    """Of an Excel workbook; else the first one."""
    normalize_labels: bool = False
    """Whether labels that differ in case or whitespace alone are one class, in lower case."""
    reads_labels: bool = True
    """Whether labels and annotations are read; prediction needs none."""
    remembered: Mapping[str, str] = field(default_factory=dict)
    """Our name of a column -> its name in the files that a model was trained on."""

    @property
    def given(self) -> list[str]:
        """The options of the command line that differ from their defaults."""
        default = TableOptions()
        names = ("encoding", "quoting", "sheet", "normalize_labels")
        changed = [name for name in names if getattr(self, name) != getattr(default, name)]
        return [f"--{name.replace('_', '-')}" for name in changed]


@dataclass(frozen=True, slots=True)
class Table:
    """A file of rows that is open for reading."""

    columns: Sequence[str]
    """In their order; those of JSON lines in the order in which rows first have them."""
    sample: Callable[[], Iterable[Mapping[str, Any]]]
    """Returns the cells of some rows, to see what kind of cells a column has."""
    rows: Callable[[Mapping[str, str] | None], Iterator[Row]]
    """Returns the rows for our name of each column -> theirs, where other cells may be left out;
    or for None all cells as they are, except image files."""
    layout: str = ""
    """What was found out about the format, such as the separator."""
    repeated: Collection[str] = ()
    """Columns whose name another one had, too, as `number_repeated` has it."""


def repeated_name(names: Iterable[str]) -> str | None:
    """Return the first name that comes more than once, None if there is none."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


def number_repeated(names: Sequence[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Return names as pandas makes them different (``a``, ``a.1``), and which came repeatedly."""
    found: dict[str, None] = {}
    counts, taken = Counter[str](), set(names)
    for name in names:
        unique = name
        while unique in found or (unique != name and unique in taken):
            counts[name] += 1
            unique = f"{name}.{counts[name]}"
        found[unique] = None
    return tuple(found), frozenset(counts)


def spread(rows: Sequence[Item]) -> Sequence[Item]:
    """Return about `SAMPLE_ROWS` of many rows, from the first to the last."""
    return rows[:: max(1, len(rows) // SAMPLE_ROWS)]


def read_bytes(path: Path, kind: str) -> bytes:
    """Return a file's content.

    Raises:
        DataError: There is no such regular file, or it cannot be read.
    """
    require_file(path, kind)
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, reason_of(error), kind) from error


def require_file(path: Path, kind: str) -> None:
    """Raise a DataError unless there is a regular file: a named pipe would block for ever."""
    require_allowed(path, DataError, "Table")
    try:
        if path.is_file():
            return
        reason = why_no_file(path)
    except (OSError, ValueError) as error:
        reason = reason_of(error)
    raise _unreadable(path, reason, kind)


def why_no_file(path: Path) -> str:
    """Return what a path is that is no regular file: the inside of a bracket."""
    if path.exists():
        return "it is a folder or a device"
    return "it is a link that leads nowhere" if path.is_symlink() else "it does not exist"


def _unreadable(path: Path, reason: str, kind: str) -> DataError:
    return DataError(f"Table {path} cannot be read ({reason}): give a {kind} file.")
