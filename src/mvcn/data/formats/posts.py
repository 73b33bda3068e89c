"""The cells of a row as a post: what may be an id, a text, a label, words, a part."""

import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from mvcn.data.formats.rows import Row
from mvcn.data.image_cells import ImagePlace, image_of_cell
from mvcn.data.text import replace_surrogates
from mvcn.errors import DataError
from mvcn.types import Post

NOT_A_LABEL = frozenset(
    [
        *("NaN", "nan", "NAN", "<NA>", "<na>", "NA", "N/A", "n/a", "#N/A", "NULL", "null"),
        *("(null)", "\\N", "NaT"),
    ]
)
"""What programs write for a missing value; a class may be called None."""
MAX_LABEL_CHARACTERS = 200
MAX_EXACT_INTEGER = 2**53
"""Beyond it, a floating-point number has lost digits of a whole one."""
INEXACT_NUMBER = re.compile(r"[+-]?\d+[.,]\d+[eE]\+?\d+")
"""As spreadsheets write a long whole number, most of its digits lost."""
WHOLE_NUMBER = re.compile(r"([+-]?\d+)\.0+")
"""As programs write a whole number once a column has had an empty cell."""
KINDS_OF_CELLS = {
    dict: "an object",
    list: "a list",
    float: "a number with a fraction",
    bool: "true or false",
    int: "a number",
    bytes: "bytes",
}


def without_surrogates(row: Row, names: Mapping[str, str]) -> tuple[Row, int]:
    """Return a row whose texts are all characters, and how many cells were not.

    An image path is left as it is: a file may have a name of other bytes.

    Args:
        row: One row of a source.
        names: Our name of each column that is read -> theirs.
    """
    changed: dict[str, str] = {}
    for ours, theirs in names.items():
        if ours != "image" and isinstance(cell := row.cells.get(theirs), str):
            whole, replaced = replace_surrogates(cell)
            if replaced:
                changed[theirs] = whole
    return (replace(row, cells={**row.cells, **changed}) if changed else row), len(changed)


def post_of_row(
    row: Row, names: Mapping[str, str], folder: ImagePlace, *, normalize: bool = False
) -> Post:
    """Return the post that a row holds.

    Args:
        row: One row of a source.
        names: Our name of each column that is read -> theirs.
        folder: What image paths are relative to.
        normalize: Whether labels are written in lower case and with single blanks.

    Raises:
        DataError: A cell is not as it should be; names the row.
    """
    # A column without a name, as that of a data frame's index, is nobody's.
    cells = {
        ours: row.cells[theirs] for ours, theirs in names.items() if theirs and theirs in row.cells
    }
    return Post(
        id=id_of_row(row, names.get("id", "")),
        text=_text(cells.get("text"), row),
        image=image_of_cell(cells.get("image"), row, folder),
        label=_label(cells.get("label"), "label", row, normalize),
        text_label=_label(cells.get("text_label"), "text_label", row, normalize),
        image_label=_label(cells.get("image_label"), "image_label", row, normalize),
        attributes=_words(cells.get("attributes"), row),
        split=_split(cells.get("split")),
    )


def id_of_row(row: Row, column: str) -> str:
    """Return the id of the post that a row holds.

    Args:
        row: One row of a source.
        column: Of the ids; "" where there is none.

    Raises:
        DataError: The cell holds no id; names the row.
    """
    if column and column in row.cells:
        return replace_surrogates(id_of_cell(row.cells[column], row)).text
    return row.default_id or str(row.number)


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


def _plain(cell: Any) -> Any:
    """Return a whole number as text without a fraction; None for no number; all else as it is."""
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


def _text(cell: Any, row: Row) -> str:
    if isinstance(cell, str):
        return cell
    if _plain(cell) is None:
        return ""
    raise DataError(f"{row.where}: 'text' is {_kind_of(cell)}, but must be text.")


def _label(cell: Any, column: str, row: Row, normalize: bool) -> str | None:
    """Return a label as text: a number and true or false are names, too."""
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


def _require_name(label: str, column: str, row: Row) -> None:
    """Raise a DataError for what is a slip, not the name of a class."""
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
    """Tell line breaks and the like; joiners inside a word belong to how it is written."""
    if not label or (label.isascii() and label.isprintable()):
        return False
    kinds = [unicodedata.category(character) for character in label]
    return not {"Cc", "Zl", "Zp"}.isdisjoint(kinds) or "Cf" in (kinds[0], kinds[-1])


def _kind_of(cell: Any) -> str:
    kinds = (kind for of_type, kind in KINDS_OF_CELLS.items() if isinstance(cell, of_type))
    return next(kinds, f"of the type {type(cell).__name__}")


def _words(cell: Any, row: Row) -> tuple[str, ...]:
    if isinstance(cell, str):
        return tuple(cell.split())
    if cell is None or (isinstance(cell, list) and all(isinstance(w, str) for w in cell)):
        return tuple(cell or ())
    raise DataError(f"{row.where}: 'attributes' must be words.")


def _split(cell: Any) -> str | None:
    """Return the part by the name that the source gives it."""
    return str("" if cell is None else cell).strip() or None
