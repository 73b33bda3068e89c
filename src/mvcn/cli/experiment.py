"""``mvcn experiment``."""

from pathlib import Path
from typing import Annotated

import typer

from mvcn.cli.process import set_up_process
from mvcn.errors import ConfigError


def experiment(
    file: Annotated[str, typer.Argument(help="Experiment by name, or a YAML file.")],
    root: Annotated[
        list[str] | None,
        typer.Option(help="Folder or file of the posts, as NAME=PATH; PATH alone means all."),
    ] = None,
    splits: Annotated[
        list[str] | None,
        typer.Option(help="Folder with train.txt and dev.txt, as NAME=PATH; PATH alone means all."),
    ] = None,
    results: Annotated[Path, typer.Option(help="Where results go, a folder an experiment.")] = Path(
        "results"
    ),
    runs: Annotated[Path, typer.Option(help="Where unfinished runs are kept.")] = Path(
        "runs/experiments"
    ),
    jobs: Annotated[
        int, typer.Option(min=1, help="Trainings at a time; they share the cores.")
    ] = 1,
) -> None:
    """Train a grid of settings x datasets x seeds (or folds); the same command continues it."""
    from mvcn.experiments.grid import read_experiment
    from mvcn.experiments.runner import Places, run_experiment

    set_up_process()
    plan = read_experiment(file)
    for name, path in _by_name(root, tuple(plan.data), "--root").items():
        plan.data[name].root = path
    for name, path in _by_name(splits, tuple(plan.data), "--splits").items():
        plan.data[name].splits = path
    places = Places(results / plan.name, runs / plan.name)
    paths = run_experiment(plan, places, jobs=jobs, initializer=set_up_process)
    typer.echo(f"{len(paths)} results are in {places.results}: mvcn compare {places.results}")


def _by_name(values: list[str] | None, known: tuple[str, ...], option: str) -> dict[str, Path]:
    """Return data name -> path, from ``NAME=PATH`` or a bare path for all.

    Raises:
        ConfigError: A name that the experiment does not have.
    """
    paths: dict[str, Path] = {}
    for value in values or []:
        name, equals, path = value.partition("=")
        if not equals:
            paths |= dict.fromkeys(known, Path(value))
        elif name in known:
            paths[name] = Path(path)
        else:
            raise ConfigError(
                f"{option} '{value}': the experiment's data are called {', '.join(known)}."
            )
    return paths
