"""What `mvcn audit` finds in MVSA-Single, without posts: results/mvsa-single-faults.json.

Run from the repository's root: ``python scripts/faults.py --root DIR --splits DIR/splits``.
"""

from pathlib import Path
from typing import Annotated

import typer

from mvcn.audit import audit, summary_lines
from mvcn.audit.findings import KINDS
from mvcn.audit.parts import read_audited_posts
from mvcn.config import DataConfig
from mvcn.files import write_json
from mvcn.training.run_folder import describe_environment


def main(
    root: Annotated[Path, typer.Option(help="Folder of MVSA-Single.")],
    splits: Annotated[Path, typer.Option(help="Folder with train.txt and dev.txt.")],
    results: Annotated[Path, typer.Option(help="Where the JSON goes.")] = Path("results"),
) -> None:
    """Audit the train and dev posts, and keep how many posts each finding concerns."""
    audited = read_audited_posts(DataConfig(name="mvsa-single", root=root, splits=splits))
    found = audit(audited)
    content = {
        "posts": {part: len(positions) for part, positions in audited.parts.items()},
        "findings": [
            {"title": KINDS[kind].title, "count": finding.count, "summary": finding.summary}
            for kind, finding in found.items()
            if finding.count
        ],
        "agreement": found["conflicting_labels"].details["agreement"],
        "environment": describe_environment(),
    }
    write_json(results / "mvsa-single-faults.json", content)
    typer.echo("\n".join(summary_lines(audited, found)))


if __name__ == "__main__":
    typer.run(main)
