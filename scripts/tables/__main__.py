"""Put the tables of results/ between their markers in the pages, and outputs below commands.

Run from the repository's root: ``python -m scripts.tables [--check]``.
"""

import re
from functools import cache
from typing import Annotated

import typer

from scripts.tables import encoders, experiments, measurements
from scripts.tables.outputs import with_outputs
from scripts.tables.pages import PAGES

MARKED = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; fail if out of date.")
    ] = False,
) -> None:
    """Write the pages whose tables have changed, or report the first one that is out of date."""
    for page in PAGES:
        before = page.read_text("utf-8")
        after = MARKED.sub(lambda found: found[1] + _table(found[2]) + found[3], before)
        after = with_outputs(after)
        if before == after:
            continue
        if check:
            raise SystemExit(f"{page} is out of date: run python -m scripts.tables.")
        page.write_text(after, "utf-8")


@cache
def _table(name: str) -> str:
    """Return a table of the package, of a file of results, of several experiments, or of one."""
    if name in encoders.TABLES:
        return encoders.TABLES[name]()
    if name in measurements.TABLES:
        return measurements.measured(name)
    return (
        experiments.TABLES[name]() if name in experiments.TABLES else experiments.experiment(name)
    )


if __name__ == "__main__":
    typer.run(main)
