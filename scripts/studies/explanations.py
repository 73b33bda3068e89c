"""Explanations of one run with the constraint and one without; writes results/explanations.json.

Run from the repository's root: ``python -m scripts.studies.explanations WITH WITHOUT``, after

    mvcn train --recipe mvcn --output WITH ... and mvcn train --recipe tgf --output WITHOUT ...
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from mvcn.cli.process import set_up_process
from mvcn.explain.figures import draw_maps
from mvcn.explain.run import TrainedRun, run_numbers
from scripts import results

MAPS = Path("docs") / "figures" / "maps.png"


def main(
    with_constraint: Annotated[Path, typer.Argument(help="Run folder.")],
    without_constraint: Annotated[Path, typer.Argument(help="Run folder.")],
    sample: Annotated[int, typer.Option(help="Dev posts that test explanations.")] = 100,
) -> None:
    """Write the numbers and the maps of both runs."""
    set_up_process()
    runs = {
        "with the constraint": TrainedRun(with_constraint),
        "without": TrainedRun(without_constraint),
    }
    MAPS.write_bytes(draw_maps({name: run.shown_space for name, run in runs.items()}))
    content = {
        "data": str(runs["without"].config.data.name),
        "runs": {name: _numbers(run, sample) for name, run in runs.items()},
    }
    results.write("explanations", content)


def _numbers(run: TrainedRun, sample: int) -> dict[str, Any]:
    metrics = run.metrics
    return {"dev_accuracy": metrics["dev"]["accuracy"], **run_numbers(run, sample)}


if __name__ == "__main__":
    typer.run(main)
