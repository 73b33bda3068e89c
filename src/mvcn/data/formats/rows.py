"""Rows of a table in any format, and their cells as ids, texts, labels, words and JSON."""

import base64
import json
import math
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np

from mvcn.data.text import replace_surrogates
from mvcn.errors import DataError, reason_of
from mvcn.files import require_allowed
from mvcn.types import Quoting, StoredImage

Item = TypeVar("Item")
WriteRow: TypeAlias = Callable[[Sequence[Any]], None]
"""Writes the cells of a row in the order of the columns: text, numbers, booleans, bytes, lists,
dictionaries, or None."""

MAX_CELL_CHARACTERS = 20_000_000
"""Enough for an image as base64 text."""
SAMPLE_ROWS = 100
"""Rows from which the kind of a column is recognised."""
EMPTY_TABLE = "is empty: it needs a header such as id,text,image,label."
PANDAS_MISSING = ("NAType", "NaTType")
"""Types of pandas, by name, since pandas is optional."""
NOT_A_LABEL = frozenset(
    [
        *("NaN", "nan", "NAN", "<NA>", "<na>", "NA", "N/A", "n/a", "#N/A", "NULL", "null"),
        *("(null)", "\\N", "NaT"),
    ]
)
"""What programs write for a missing value; a class may be named None."""
MAX_LABEL_CHARACTERS = 200
MAX_EXACT_INTEGER = 2**53
"""Largest range in which floats represent all integers exactly."""
INEXACT_NUMBER = re.compile(r"[+-]?\d+[.,]\d+[eE]\+?\d+")
"""A long integer as written by spreadsheets, with most digits lost."""
WHOLE_NUMBER = re.compile(r"([+-]?\d+)\.0+")
"""An integer as written by programs if its column has an empty cell."""
KINDS_OF_CELLS: dict[type, str] = {
    Mapping: "an object",
    list: "a list",
    float: "a number with a fraction",
    bool: "true or false",
    int: "a number",
    bytes: "bytes",
}
# JSON allows them in strings, but many programs treat them as line ends.
LINE_ENDS = {code: f"\\u{code:04x}" for code in (0x85, 0x2028, 0x2029)}


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file."""

    cells: Mapping[str, Any]
    number: int
    """From 1."""
    where: str
    """File, row and line, for errors."""
    image: StoredImage | None = None
    """Reference to read the image on demand, if the cell itself contains it."""
    default_id: str = ""
    """Id of the post without a column of ids; if empty, the number of the row."""


@dataclass(frozen=True, slots=True)
class TableOptions:
    """How the rows of a file are read."""

    encoding: str | None = None
    """A Python codec; None for that of a byte-order mark, else UTF-8."""
    quoting: Quoting = "auto"
    sheet: str | None = None
    """Sheet of an Excel workbook; None for the first."""
    normalize_labels: bool = False
    """Whether labels that differ only in case or whitespace are one class, in lower case."""
    reads_labels: bool = True
    """Whether labels and annotations are read, which prediction does not need."""
    remembered: Mapping[str, str] = field(default_factory=dict)
    """Our name of a column -> its name in the files that a model was trained on."""

    @property
    def given(self) -> list[str]:
        """Command-line options that differ from their defaults."""
        default = TableOptions()
        names = ("encoding", "quoting", "sheet", "normalize_labels")
        changed = [name for name in names if getattr(self, name) != getattr(default, name)]
        return [f"--{name.replace('_', '-')}" for name in changed]


@dataclass(frozen=True, slots=True)
class Table:
    """A table open for reading."""

    columns: Sequence[str]
    """Names in order; for JSON lines, in order of first occurrence."""
    sample: Callable[[], Iterable[Mapping[str, Any]]]
    """Returns the cells of some rows, to recognise the kind of a column."""
    rows: Callable[[Mapping[str, str] | None], Iterator[Row]]
    """Returns the rows, given our name of each column -> its name in the file; other cells may be
    left out. None gives all cells except image files, unchanged."""
    layout: str = ""
    """Description of the detected format, such as the separator."""
    repeated: Collection[str] = ()
    """Names that several columns share; see `number_repeated`."""
    num_rows: int | None = None
    """Number of rows, where it is known."""


def repeated_name(names: Iterable[str]) -> str | None:
    """Return the first repeated name, None if there is none."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


def number_repeated(names: Sequence[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Return unique names, numbered as by pandas (``a``, ``a.1``), and the repeated ones."""
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
    """Return about `SAMPLE_ROWS` evenly spaced rows."""
    return rows[:: max(1, len(rows) // SAMPLE_ROWS)]


def read_bytes(path: Path, kind: str) -> bytes:
    """Return the content of a file.

    Raises:
        DataError: There is no such regular file, or it cannot be read.
    """
    require_file(path, kind)
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, reason_of(error), kind) from error


def require_file(path: Path, kind: str) -> None:
    """Raise a DataError unless `path` is a regular file: a named pipe would block forever."""
    require_allowed(path, DataError)
    try:
        if path.is_file():
            return
        reason = why_no_file(path)
    except (OSError, ValueError) as error:
        reason = reason_of(error)
    raise _unreadable(path, reason, kind)


def why_no_file(path: Path) -> str:
    """Return why a path is not a regular file, for use in parentheses."""
    if path.exists():
        return "it is a folder or a device"
    return "it is a broken link" if path.is_symlink() else "it does not exist"


def _unreadable(path: Path, reason: str, kind: str) -> DataError:
    return DataError(f"{path} cannot be read ({reason}): check the path; it must be a {kind} file.")


def is_missing(value: object) -> bool:
    """Return whether a value is None, NaN, ``pandas.NA`` or ``pandas.NaT``."""
    if isinstance(value, (float, np.floating)):
        return math.isnan(value)
    return value is None or type(value).__name__ in PANDAS_MISSING


def id_of_cell(cell: Any, row: Row) -> str:
    """Return the id in a cell; raises a DataError if it is not one."""
    value = _plain(cell)
    is_inexact = isinstance(cell, float) and abs(cell) >= MAX_EXACT_INTEGER
    if is_inexact or (isinstance(cell, str) and INEXACT_NUMBER.fullmatch(cell.strip())):
        raise DataError(
            f"{row.where}: 'id' is {cell!r}, a number that has lost digits: store ids as text."
        )
    if isinstance(value, str) and value.strip():
        return value.strip()
    what = kind_of_cell(cell) if value is not None and type(cell) is not str else "empty"
    raise DataError(f"{row.where}: 'id' is {what}: make it text or a whole number.")


def text_of_cell(cell: Any, row: Row) -> str:
    """Return the text in a cell, empty if missing; raises a DataError for another type."""
    if isinstance(cell, str):
        return cell
    if _plain(cell) is None:
        return ""
    raise DataError(f"{row.where}: 'text' is {kind_of_cell(cell)}, but must be text.")


def label_of_cell(cell: Any, column: str, row: Row, *, normalize: bool) -> str | None:
    """Return a label as text; numbers and booleans are valid names.

    Args:
        cell: The cell.
        column: Our name of its column.
        row: The row that it belongs to.
        normalize: Whether the label is converted to lower case with single spaces.

    Raises:
        DataError: The cell is not the name of a class.
    """
    if cell is None:
        return None
    value = str(cell).lower() if type(cell) is bool else _plain(cell)
    if value is None or isinstance(value, str):
        name = unicodedata.normalize("NFC", value or "").strip()
        _require_name(name, column, row)
        name = " ".join(name.split()).lower() if normalize else name
        return sys.intern(name) or None  # many posts have the same one
    raise DataError(
        f"{row.where}: '{column}' is {kind_of_cell(cell)}, but must be text or a whole number."
    )


def kind_of_cell(cell: Any) -> str:
    """Return what a cell of the wrong type is called in an error."""
    kinds = (kind for of_type, kind in KINDS_OF_CELLS.items() if isinstance(cell, of_type))
    return next(kinds, f"of the type {type(cell).__name__}")


def words_of_cell(cell: Any, row: Row) -> tuple[str, ...]:
    """Return the words in a cell with text or a list; raises a DataError for another type."""
    if isinstance(cell, str):
        return tuple(map(sys.intern, cell.split()))
    if cell is None or (isinstance(cell, list) and all(isinstance(w, str) for w in cell)):
        return tuple(map(sys.intern, cell or ()))
    raise DataError(f"{row.where}: 'attributes' must be words, such as 'cat sofa'.")


def as_text(cell: Any) -> str:
    """Return a cell as text: empty for None and NaN, base64 for bytes, JSON for nested values.

    Numbers are written such that they read back equal; booleans are in lower case. Lone
    surrogates, which cannot be written, become U+FFFD.
    """
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, str):
        return replace_surrogates(cell).text
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, bytes):
        return base64.b64encode(cell).decode("ascii")
    if isinstance(cell, Mapping | list | tuple):
        return json_text(cell)
    return str(cell)


def json_text(cell: Any) -> str:
    """Return a cell as JSON on one line: null for NaN, and text for other types."""
    text = json.dumps(_as_json(cell), ensure_ascii=False, allow_nan=False)
    return text.translate(LINE_ENDS)


def _as_json(cell: Any) -> Any:
    if cell is None or isinstance(cell, bool | int):
        return cell
    if isinstance(cell, float):
        return cell if math.isfinite(cell) else as_text(cell) or None
    if isinstance(cell, Mapping):
        return {as_text(key): _as_json(value) for key, value in cell.items()}
    if isinstance(cell, list | tuple):
        return [_as_json(value) for value in cell]
    return as_text(cell)


def _plain(cell: Any) -> Any:
    """Return an integer as text without a fraction, None for NaN, other values unchanged."""
    if isinstance(cell, str):
        match = WHOLE_NUMBER.fullmatch(cell.strip()) if "." in cell else None
        return match[1] if match else cell
    if type(cell) is int:
        return str(cell)
    if not isinstance(cell, float | Decimal):
        return cell
    if math.isnan(cell):
        return None
    is_exact = math.isfinite(cell) and math.fabs(cell) < MAX_EXACT_INTEGER
    return str(int(cell)) if is_exact and cell == int(cell) else cell


def _require_name(label: str, column: str, row: Row) -> None:
    """Raise a DataError for a name that must be a mistake."""
    if label in NOT_A_LABEL:
        raise DataError(
            f"{row.where}: '{column}' is {label!r}, which usually stands for a missing value: "
            "leave the cell empty."
        )
    is_long = len(label) > MAX_LABEL_CHARACTERS
    if is_long or _has_hidden_characters(label):
        why = "is too long" if is_long else "has hidden characters, or several lines"
        raise DataError(
            f"{row.where}: '{column}' {why}, so it cannot be a class name ({label[:40]!r}): fix "
            f"it, or choose another column with --columns {column}=NAME."
        )


def _has_hidden_characters(label: str) -> bool:
    """Return whether a label has line breaks or other controls; joiners inside it are allowed."""
    if not label or (label.isascii() and label.isprintable()):
        return False
    kinds = [unicodedata.category(character) for character in label]
    return not {"Cc", "Zl", "Zp"}.isdisjoint(kinds) or "Cf" in (kinds[0], kinds[-1])
