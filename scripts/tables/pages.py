"""The pages that hold tables and outputs of commands."""

from pathlib import Path

PAGES = (
    Path("README.md"),
    *(page for folder in ("docs", "docs/how-to") for page in sorted(Path(folder).glob("*.md"))),
)
