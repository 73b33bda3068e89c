"""What a cell of a table becomes in a file whose format has no such type."""

import base64
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from mvcn.data.text import replace_surrogates

# JSON allows them in a text, but many programs would take them for the end of a line.
LINE_ENDS = {code: f"\\u{code:04x}" for code in (0x85, 0x2028, 0x2029)}
PANDAS_MISSING = ("NAType", "NaTType")
"""Types of pandas, which need not be installed."""


def is_missing(value: object) -> bool:
    """Tell whether a value is None, NaN, ``pandas.NA`` or ``pandas.NaT``."""
    if isinstance(value, (float, np.floating)):
        return math.isnan(value)
    return value is None or type(value).__name__ in PANDAS_MISSING


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
    """Return a cell as JSON on one line; see `as_json`."""
    text = json.dumps(as_json(cell), ensure_ascii=False, allow_nan=False)
    return text.translate(LINE_ENDS)


def as_json(cell: Any) -> Any:
    """Return a cell as JSON can hold it: null for NaN, and text for what JSON has no type for."""
    if cell is None or isinstance(cell, bool | int):
        return cell
    if isinstance(cell, float):
        return cell if math.isfinite(cell) else as_text(cell) or None
    if isinstance(cell, Mapping):
        return {as_text(key): as_json(value) for key, value in cell.items()}
    if isinstance(cell, list | tuple):
        return [as_json(value) for value in cell]
    return as_text(cell)
