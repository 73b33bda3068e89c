"""Explanations and clusters with the constraint and without; writes results/explanations.json.

Run from the repository's root: ``python -m scripts.studies.explanations DIR``, the folder of
MVSA-Single with splits in DIR/splits. It trains the recipes `mvcn` and `tgf` with five seeds each;
a study that was killed continues, and at the end its runs are deleted.
"""

import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from mvcn.cli.process import set_up_process
from mvcn.config import read_recipe
from mvcn.explain.figures import draw_maps
from mvcn.explain.run import TrainedRun, run_numbers
from mvcn.training.run import train
from mvcn.training.run_folder import Run
from scripts import results

NAME = "explanations"
MAPS = Path("docs") / "figures" / "maps.png"
RUNS = Path("runs") / "studies" / NAME
RECIPES = {"with the constraint": "mvcn", "without": "tgf"}
SEEDS = 5
SAMPLE = 100
"""Dev posts with an image that test explanations."""


def main(root: Annotated[Path, typer.Argument(help="Folder of MVSA-Single.")]) -> None:
    """Train and measure each run; draw the maps of the first seed."""
    set_up_process()
    found: dict[str, list[Any]] = results.read(NAME).get("runs") or {name: [] for name in RECIPES}
    for seed in range(SEEDS):
        runs = {
            name: _train(root, recipe, seed)
            for name, recipe in RECIPES.items()
            if len(found[name]) == seed
        }
        if seed == 0 and runs:
            MAPS.parent.mkdir(parents=True, exist_ok=True)
            MAPS.write_bytes(draw_maps({name: run.shown_space for name, run in runs.items()}))
        for name, run in runs.items():
            found[name].append(_numbers(run))
            results.write(NAME, {"data": run.config.data.name, "runs": found})
    shutil.rmtree(RUNS, ignore_errors=True)


def _train(root: Path, recipe: str, seed: int) -> TrainedRun:
    config = read_recipe(recipe)
    data = {"name": "mvsa-single", "root": root, "splits": root / "splits"}
    config.update({"data": data, "training": {"seed": seed, "export": False}})
    run = Run(RUNS / f"{recipe}-{seed}")
    if not run.is_finished:
        train(config, run.folder, resume=run.is_started)
    return TrainedRun(run.folder)


def _numbers(run: TrainedRun) -> dict[str, Any]:
    return {"dev_accuracy": run.metrics["dev"]["accuracy"], **run_numbers(run, SAMPLE)}


if __name__ == "__main__":
    typer.run(main)
