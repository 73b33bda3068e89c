"""The table and the JSON file of what was measured."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mvcn.errors import DataError
from mvcn.files import atomic_write

Entry = dict[str, Any]

COLUMNS = "{:<26} {:>8} {:>10} {:>7}  {:>8} {:>6}  {}"


def update(path: Path, measured: Sequence[Entry], order: Iterable[str]) -> None:
    """Write the entries into the file; those of other names stay, known names come in `order`.

    Raises:
        DataError: The file is there and is not a list of entries.
    """
    entries = {entry["name"]: entry for entry in [*read(path), *measured]}
    names = dict.fromkeys([*order, *entries])
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        json.dump([entries[name] for name in names if name in entries], file, indent=2)
        file.write("\n")


def read(path: Path) -> list[Entry]:
    """Return the entries of the file; none if there is no file.

    Raises:
        DataError: The file is not a list of entries.
    """
    if not path.exists():
        return []
    try:
        entries: list[Entry] = json.loads(path.read_text("utf-8"))
        return [{"name": entry["name"], **entry} for entry in entries]
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path} is not a list of benchmarks: move it out of the way.") from error


def table(entries: Iterable[Entry]) -> str:
    """Return the entries as lines of text."""
    head = COLUMNS.format("name", "ours", "reference", "ratio", "limit", "share", "unit")
    return "\n".join([head, *map(_line, entries)])


def _line(entry: Entry) -> str:
    limit, share = entry.get("limit"), entry.get("share_of_limit")
    return COLUMNS.format(
        entry["name"],
        f"{entry['ours']:.1f}",
        f"{entry['reference']:.1f}",
        f"{entry['ratio']:.2f}",
        "" if limit is None else f"{limit:.1f}",
        "" if share is None else f"{share:.0%}",
        entry["unit"],
    )
