"""What `mvcn audit` finds in MVSA-Single; writes results/mvsa-single-faults.json.

Run from the repository's root: ``python -m scripts.studies.audit DIR``, with splits in DIR/splits.
"""

from pathlib import Path
from typing import Annotated

import typer

from mvcn.audit.audit import audit
from mvcn.audit.findings import read_audited_posts, summary_lines
from mvcn.audit.kinds import KINDS
from mvcn.config import DataConfig
from scripts import results


def main(root: Annotated[Path, typer.Argument(help="Folder of MVSA-Single.")]) -> None:
    """Audit the train and dev posts, and keep how many posts each finding concerns."""
    data = DataConfig(name="mvsa-single", root=root, splits=root / "splits")
    audited = read_audited_posts(data)
    found = audit(audited)
    content = {
        "posts": {split: len(positions) for split, positions in audited.splits.items()},
        "findings": [
            {"title": KINDS[kind].title, "count": finding.count, "summary": finding.summary}
            for kind, finding in found.items()
            if finding.count
        ],
        "agreement": found["conflicting_labels"].details["agreement"],
    }
    results.write("mvsa-single-faults", content)
    typer.echo("\n".join(summary_lines(audited, found)))


if __name__ == "__main__":
    typer.run(main)
