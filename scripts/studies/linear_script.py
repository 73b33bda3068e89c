"""Add a plain script of scikit-learn to the learning curve of `mvcn experiment`.

Run from the repository's root: ``python -m scripts.studies.linear_script DIR``, the folder of
MVSA-Single with splits in DIR/splits, after ``mvcn experiment learning-curve``. On the same draws
of posts it fits a logistic regression on the mean tokens of the packaged encoders, and writes what
it predicts next to the results of `logreg`.
"""

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from mvcn.cli.process import set_up_process
from mvcn.experiments.grid import Cell, cells_of, read_experiment
from mvcn.experiments.results import CellResult, read_cell, write_cell
from mvcn.training.environment import describe_environment
from mvcn.training.run_folder import training_posts
from scripts.results import RESULTS
from scripts.studies.tasks.references import fit_on_features, mean_features

EXPERIMENT, PEER = "learning-curve", "logreg"
NAME = "linear script"


def main(root: Annotated[Path, typer.Argument(help="Folder of MVSA-Single.")]) -> None:
    """Fit on each draw of posts, and write a result next to that of `logreg`."""
    set_up_process()
    for cell in cells_of(read_experiment(EXPERIMENT)):
        if cell.variant != PEER:
            continue
        cell.config.update({"data": {"root": root, "splits": root / "splits"}})
        place = RESULTS / EXPERIMENT / cell.path.with_suffix(".json")
        found = _predict(cell, read_cell(place))
        write_cell(place.parent.parent / NAME.replace(" ", "-") / place.name, found)
        typer.echo(f"{cell.data}, draw {cell.seed + 1}: {(found.predicted == found.labels).mean()}")


def _predict(cell: Cell, peer: CellResult) -> CellResult:
    """Return the result of the script for a cell, whose posts are those of another one."""
    posts, started = training_posts(cell.config), time.process_time()
    train, dev = mean_features(posts.train, posts.dev)["both features"]
    script = fit_on_features(train, [str(post.label) for post in posts.train])
    order = [script.classes_.tolist().index(name) for name in peer.class_names]
    probabilities = script.predict_proba(dev)[:, order]
    numbers = {name: number for number, name in enumerate(peer.class_names)}
    assert [numbers[str(post.label)] for post in posts.dev] == peer.labels.tolist()
    return replace(
        peer,
        variant=NAME,
        predicted=probabilities.argmax(-1),
        probabilities=probabilities,
        metrics={},
        processor_seconds=round(time.process_time() - started, 1),
        environment=describe_environment(),
    )


if __name__ == "__main__":
    typer.run(main)
