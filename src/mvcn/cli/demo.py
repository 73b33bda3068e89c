"""``mvcn demo``."""

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from mvcn.cli.options import Overwrite
from mvcn.cli.process import set_up_process


def demo(
    output: Annotated[Path, typer.Option(help="Folder for posts, runs and report.")] = Path(
        "runs/demo"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the posts and the trainings.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Train on generated posts and report whether the model looks where it should."""
    from mvcn.experiments.demo import DemoPlan, run_demo

    set_up_process()
    numbers = run_demo(output, DemoPlan(seed=seed), overwrite=overwrite, tell=typer.echo)
    typer.echo(_summary(numbers, output))


def _summary(numbers: dict[str, Any], output: Path) -> str:
    found = [_line(name, model) for name, model in numbers["models"].items()]
    return "\n".join(
        [
            "",
            *found,
            f"Chance is {100 * numbers['chance']['mass']:.1f} %.",
            f"Open the report, {output / 'report.html'}, in a browser; its numbers are in "
            f"{output / 'report.json'}.",
            "Next steps:",
            *(f"  {shlex.join(map(str, command))}" for command in _next_commands(numbers, output)),
        ]
    )


def _line(name: str, model: dict[str, Any]) -> str:
    mass = model["attention"]["all"]["mass"]["mean"]
    return (
        f"{name.capitalize()}: dev accuracy {100 * model['dev']['accuracy']:.1f} %, "
        f"{100 * mass:.1f} % of the attention on the patch that matters."
    )


def _next_commands(numbers: dict[str, Any], output: Path) -> list[list[str | Path]]:
    run, posts = output / "sparsemax", output / "posts" / "dev"
    image = posts / "images" / f"post-{numbers['posts']['train']:05d}.png"
    return [
        ["mvcn", "predict", run, "--text", "just a usual day", "--image", image],
        ["mvcn", "predict", run, posts / "posts.csv", "--output", output / "predictions.csv"],
        ["mvcn", "evaluate", run, "--root", posts / "posts.csv"],
    ]
