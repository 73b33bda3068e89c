"""Tables of posts that all tools read: CSV with the columns text, image, label."""

import csv
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple


class Posts(NamedTuple):
    """The columns of a table, each with one entry a post."""

    texts: list[str]
    images: list[str]
    """Paths of the image files."""
    labels: list[str]
    """Empty strings in a table of posts to predict."""


Predict = Callable[[Posts], tuple[Sequence[str], Any]]
"""Returns class names, and for each post a row of as many probabilities."""


def write_table(path: Path, rows: Iterable[dict[str, str]]) -> None:
    """Write posts, given by column."""
    rows = list(rows)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def read_table(path: Path) -> Posts:
    """Read what `write_table` has written."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    columns = ([row.get(name, "") for row in rows] for name in ("text", "image", "label"))
    return Posts(*columns)
