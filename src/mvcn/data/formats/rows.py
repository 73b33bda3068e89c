"""Rows of a table in any format, and their cells as ids, texts, labels, words and JSON."""

import base64
import json
import math
import re
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
"""Takes the cells of a row in the order of the columns: text, numbers, true and false, bytes,
lists, dictionaries, or None."""

MAX_CELL_CHARACTERS = 20_000_000
"""Room for an image as base64 text."""
SAMPLE_ROWS = 100
"""Rows by which the kind of a column is recognised."""
EMPTY_TABLE = "is empty: it needs a header such as id,text,image,label."
PANDAS_MISSING = ("NAType", "NaTType")
"""Types of pandas, which need not be installed."""
NOT_A_LABEL = frozenset(
    [
        *("NaN", "nan", "NAN", "<NA>", "<na>", "NA", "N/A", "n/a", "#N/A", "NULL", "null"),
        *("(null)", "\\N", "NaT"),
    ]
)
"""What programs write for a missing value; a class may be called None."""
MAX_LABEL_CHARACTERS = 200
MAX_EXACT_INTEGER = 2**53
"""Beyond it, a floating-point number has lost digits of an integer."""
INEXACT_NUMBER = re.compile(r"[+-]?\d+[.,]\d+[eE]\+?\d+")
"""As spreadsheets write a long integer, most of its digits lost."""
WHOLE_NUMBER = re.compile(r"([+-]?\d+)\.0+")
"""As programs write an integer once a column has had an empty cell."""
KINDS_OF_CELLS = {
    dict: "an object",
    list: "a list",
    float: "a number with a fraction",
    bool: "true or false",
    int: "a number",
    bytes: "bytes",
}
# JSON allows them in a text, but many programs would take them for the end of a line.
LINE_ENDS = {code: f"\\u{code:04x}" for code in (0x85, 0x2028, 0x2029)}


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


def is_missing(value: object) -> bool:
    """Return whether a value is None, NaN, ``pandas.NA`` or ``pandas.NaT``."""
    if isinstance(value, (float, np.floating)):
        return math.isnan(value)
    return value is None or type(value).__name__ in PANDAS_MISSING


def id_of_cell(cell: Any, row: Row) -> str:
    """Return the id that a cell holds; raises a DataError if it holds none."""
    value = _plain(cell)
    is_inexact = isinstance(cell, float) and abs(cell) >= MAX_EXACT_INTEGER
    if is_inexact or (isinstance(cell, str) and INEXACT_NUMBER.fullmatch(cell.strip())):
        raise DataError(
            f"{row.where}: 'id' is {cell!r}, a number that has lost digits: write ids as text."
        )
    if isinstance(value, str) and value.strip():
        return value.strip()
    what = _kind_of(cell) if value is not None and type(cell) is not str else "empty"
    raise DataError(f"{row.where}: 'id' is {what}: make it text or a whole number.")


def text_of_cell(cell: Any, row: Row) -> str:
    """Return the text that a cell holds, empty where it is missing; else raises a DataError."""
    if isinstance(cell, str):
        return cell
    if _plain(cell) is None:
        return ""
    raise DataError(f"{row.where}: 'text' is {_kind_of(cell)}, but must be text.")


def label_of_cell(cell: Any, column: str, row: Row, *, normalize: bool) -> str | None:
    """Return a label as text; numbers, and true and false, are names, too.

    Args:
        cell: The cell.
        column: Our name of its column.
        row: The row that it belongs to.
        normalize: Whether the label is written in lower case and with single spaces.

    Raises:
        DataError: The cell holds something that is not the name of a class.
    """
    if cell is None:
        return None
    value = str(cell).lower() if type(cell) is bool else _plain(cell)
    if value is None or isinstance(value, str):
        name = unicodedata.normalize("NFC", value or "").strip()
        _require_name(name, column, row)
        return (" ".join(name.split()).lower() if normalize else name) or None
    raise DataError(
        f"{row.where}: '{column}' is {_kind_of(cell)}, but must be text or a whole number."
    )


def words_of_cell(cell: Any, row: Row) -> tuple[str, ...]:
    """Return the words that a cell holds, as text or a list; else raises a DataError."""
    if isinstance(cell, str):
        return tuple(cell.split())
    if cell is None or (isinstance(cell, list) and all(isinstance(w, str) for w in cell)):
        return tuple(cell or ())
    raise DataError(f"{row.where}: 'attributes' must be words.")


def as_text(cell: Any) -> str:
    """Return a cell as text: empty for nothing and NaN, base64 for bytes, JSON for what is nested.

    Numbers are written such that they read back equal; true and false are in lower case. Lone
    surrogates, which no file can hold, become U+FFFD.
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
    """Return a cell as JSON on one line: null for NaN, and text for what JSON has no type for."""
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
    """Return a whole number as text without a fraction; None for NaN; all else as it is."""
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
    """Raise a DataError for what is a mistake, not the name of a class."""
    if label in NOT_A_LABEL:
        raise DataError(
            f"{row.where}: '{column}' is {label!r}, as programs write a missing value: leave the "
            "cell empty."
        )
    is_long = len(label) > MAX_LABEL_CHARACTERS
    if is_long or _has_hidden_characters(label):
        why = "is too long" if is_long else "has hidden characters, or several lines"
        raise DataError(
            f"{row.where}: '{column}' {why}, so it is not the name of a class ({label[:40]!r}): "
            "correct it, or map the right column by --columns."
        )


def _has_hidden_characters(label: str) -> bool:
    """Return whether a label has line breaks or the like; joiners inside of it are letters."""
    if not label or (label.isascii() and label.isprintable()):
        return False
    kinds = [unicodedata.category(character) for character in label]
    return not {"Cc", "Zl", "Zp"}.isdisjoint(kinds) or "Cf" in (kinds[0], kinds[-1])


def _kind_of(cell: Any) -> str:
    kinds = (kind for of_type, kind in KINDS_OF_CELLS.items() if isinstance(cell, of_type))
    return next(kinds, f"of the type {type(cell).__name__}")
