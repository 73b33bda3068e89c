"""``mvcn experiment``, ``mvcn compare``, ``mvcn tune`` and ``mvcn demo``."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mvcn.cli.options import Fold, Overwrite, Splits, given
from mvcn.cli.process import set_up_process
from mvcn.errors import ConfigError, count_of, format_table, which_of
from mvcn.files import atomic_write
from mvcn.outputs import require_new_file, require_own_file

if TYPE_CHECKING:
    from mvcn.experiments.tuning import Outcome
    from mvcn.experiments.tuning_space import SearchSpace


def experiment(
    file: Annotated[str, typer.Argument(help="Experiment by name, or a YAML file.")],
    root: Annotated[
        list[str] | None,
        typer.Option(help="Folder or file of the posts, as NAME=PATH, or PATH for all."),
    ] = None,
    splits: Annotated[
        list[str] | None,
        typer.Option(
            help="Folder with train.txt and dev.txt, or of published folds, as NAME=PATH, or PATH "
            "for all."
        ),
    ] = None,
    results: Annotated[
        Path, typer.Option(help="Folder of results, with a folder per experiment.")
    ] = Path("results"),
    runs: Annotated[Path, typer.Option(help="Folder of unfinished runs.")] = Path(
        "runs/experiments"
    ),
    variant: Annotated[
        list[str] | None, typer.Option(help="Only this variant, repeatable; by default all.")
    ] = None,
    seed: Annotated[
        list[int] | None, typer.Option(help="Only this seed, repeatable; by default all.")
    ] = None,
    jobs: Annotated[
        int, typer.Option(min=1, help="Trainings in parallel, which share the cores.")
    ] = 1,
) -> None:
    """Train a grid of settings x datasets x seeds (or folds); the same command resumes it."""
    from mvcn.experiments.grid import cells_of, check_settings, part_of, read_experiment

    set_up_process()
    plan, part = read_experiment(file), (variant or (), seed or ())
    part_of(cells_of(plan), *part)
    check_settings(plan)
    from mvcn.experiments.runner import Places, run_experiment  # takes seconds

    for name, path in _by_name(root, tuple(plan.data), "--root").items():
        plan.data[name].root = path
    for name, path in _by_name(splits, tuple(plan.data), "--splits").items():
        plan.data[name].splits = path
    places = Places(results / plan.name, runs / plan.name)
    paths = run_experiment(plan, places, part, jobs=jobs, initializer=set_up_process)
    found = count_of(len(paths), "result is", "results are")
    typer.echo(f"{found} in {places.results}: mvcn compare {places.results}")


def _by_name(values: list[str] | None, known: tuple[str, ...], option: str) -> dict[str, Path]:
    """Return name of a dataset -> path, from ``NAME=PATH`` or a bare path for all.

    Raises:
        ConfigError: The experiment has no dataset of that name.
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
                f"{option} '{value}' names no dataset of the experiment: {which_of(name, known)}"
            )
    return paths


def compare(
    results: Annotated[
        list[Path], typer.Argument(help="Folders of results written by mvcn experiment.")
    ],
    baseline: Annotated[
        str | None,
        typer.Option(help="Variant to compare the others with; by default the first by name."),
    ] = None,
    form: Annotated[
        Literal["markdown", "latex", "csv"], typer.Option("--format", help="Format of the tables.")
    ] = "markdown",
    output: Annotated[
        Path | None, typer.Option(help="File to write, instead of the terminal.")
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Image of a learning curve to write, as PNG or SVG.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Compare the variants of experiments, and show which differences are noise."""
    from mvcn.experiments.compare import compare as compare_cells
    from mvcn.experiments.comparison_tables import is_rendered, render
    from mvcn.experiments.learning_curve import require_figure, write_curve
    from mvcn.experiments.results import read_cells

    if output is not None:
        require_own_file(output, "file of tables by mvcn compare", is_own=is_rendered(output))
        require_new_file(output, overwrite=overwrite)
    if figure is not None:
        require_figure(figure, overwrite=overwrite)
    found = compare_cells([cell for folder in results for cell in read_cells(folder)], baseline)
    text = render(found, form)
    if figure is not None:
        write_curve(found, figure)
    if output is None:
        typer.echo(text, nl=False)
        return
    with atomic_write(output) as file:
        file.write(text)
    typer.echo(f"Wrote {output}.")


def tune(
    file: Annotated[str, typer.Argument(help="Search space by name, or a YAML file.")],
    output: Annotated[Path, typer.Option(help="Folder of the search, new or to be resumed.")],
    trials: Annotated[int, typer.Option(min=1, help="Total number of trials.")],
    data: Annotated[
        str | None, typer.Option(help="Kind of dataset, unless the file names it.")
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Folder or file of the posts.")] = None,
    splits: Splits = None,
    fold: Fold = None,
) -> None:
    """Search for the settings that are best on dev; the same command resumes the search."""
    from mvcn.experiments.tuning import tune as run_search
    from mvcn.experiments.tuning_space import read_space

    set_up_process()
    space = read_space(file)
    changes = given(name=data, root=root, splits=splits, fold=fold)
    if root is not None:
        changes |= {"train": None, "dev": None}  # which take precedence over root
    space = replace(space, data=space.data.model_copy(update=changes))
    _print_summary(run_search(space, output, trials), space, output)


def _print_summary(outcome: "Outcome", space: "SearchSpace", output: Path) -> None:
    from mvcn.evaluation.metrics import METRIC_TITLES
    from mvcn.experiments.tuning import RECIPE_FILE
    from mvcn.experiments.tuning_space import OPTIMISTIC

    best = outcome.best
    counts = ", ".join(f"{number} {state}" for state, number in sorted(outcome.counts.items()))
    assert best.value is not None  # it is complete
    trials = count_of(sum(outcome.counts.values()), "trial")
    typer.echo(
        f"Best of {trials} ({counts}): {METRIC_TITLES[space.metric]} "
        f"{100 * best.value:.1f} on dev, in trial {best.number}.\n"
    )
    typer.echo(_table(outcome))
    typer.echo(
        f"\n{OPTIMISTIC}\n"
        f"The settings are in {output / RECIPE_FILE}, the model is in {outcome.runs[0]}: "
        f"mvcn evaluate {outcome.runs[0]} --help"
    )


def _table(outcome: "Outcome") -> str:
    """Return the best settings, the most important first."""
    shares = outcome.importance
    rows = [("setting", "best", "importance" if shares else "")]
    for name in sorted(outcome.best.settings, key=lambda name: -shares.get(name, 0.0)):
        value = outcome.best.settings[name]
        shown = f"{value:.3g}" if isinstance(value, float) else str(value)
        rows.append((name, shown, f"{100 * shares[name]:.0f} %" if shares else ""))
    return format_table(rows)


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
    typer.echo(_summarize_demo(numbers, output))


def _summarize_demo(numbers: dict[str, Any], output: Path) -> str:
    found = [_model_line(name, model) for name, model in numbers["models"].items()]
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


def _model_line(name: str, model: dict[str, Any]) -> str:
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
