"""Measure how explanations and clusters of two runs compare: one with the constraint, one without.

Run from the repository's root: ``python scripts/explanations.py WITH WITHOUT``, after

    mvcn train --recipe mvcn --output WITH ... and mvcn train --recipe tgf --output WITHOUT ...
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from mvcn.cli.process import prepare_process
from mvcn.explain.figures import draw_maps
from mvcn.explain.gallery import run_numbers
from mvcn.explain.trained_run import TrainedRun
from mvcn.files import write_json
from mvcn.training import run_folder

RESULT = Path("results") / "explanations.json"
MAPS = Path("docs") / "figures" / "maps.png"


def main(
    with_constraint: Annotated[Path, typer.Argument(help="Run folder.")],
    without_constraint: Annotated[Path, typer.Argument(help="Run folder.")],
    sample: Annotated[int, typer.Option(help="Dev posts that test explanations.")] = 100,
) -> None:
    """Write the numbers and the maps of both runs."""
    prepare_process()
    runs = {
        "with the constraint": TrainedRun(with_constraint),
        "without": TrainedRun(without_constraint),
    }
    MAPS.parent.mkdir(parents=True, exist_ok=True)
    MAPS.write_bytes(draw_maps({name: run.dev_space for name, run in runs.items()}))
    content: dict[str, Any] = {
        "data": str(next(iter(runs.values())).config.data.name),
        "runs": {name: _numbers(run, sample) for name, run in runs.items()},
        "environment": run_folder.describe_environment(),
    }
    write_json(RESULT, content)


def _numbers(run: TrainedRun, sample: int) -> dict[str, Any]:
    report = run_folder.read_report(run.folder)
    return {"dev_accuracy": report["dev"]["accuracy"], **run_numbers(run, sample)}


if __name__ == "__main__":
    typer.run(main)
