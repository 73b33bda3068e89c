"""``mvcn tune``."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mvcn.cli.options import given
from mvcn.cli.process import set_up_process

if TYPE_CHECKING:
    from mvcn.experiments.tuning import Outcome
    from mvcn.experiments.tuning_space import SearchSpace


def tune(
    file: Annotated[str, typer.Argument(help="Search space by name, or a YAML file.")],
    output: Annotated[Path, typer.Option(help="Folder of the search, new or to be continued.")],
    trials: Annotated[int, typer.Option(min=1, help="Trials to have in the end.")],
    data: Annotated[
        str | None, typer.Option(help="What the posts are, where the file does not say.")
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Folder or file of the posts.")] = None,
    splits: Annotated[
        Path | None, typer.Option(help="Folder with train.txt and dev.txt, one id a line.")
    ] = None,
) -> None:
    """Search for settings that are good on dev; interrupted, the same command continues."""
    from mvcn.experiments.tuning import tune as run_search
    from mvcn.experiments.tuning_space import read_space

    set_up_process()
    space = read_space(file)
    changes = given(name=data, root=root, splits=splits)
    if root is not None:
        changes |= {"train": None, "dev": None}  # which would come first
    space = replace(space, data=space.data.model_copy(update=changes))
    _print_summary(run_search(space, output, trials), space, output)


def _print_summary(outcome: "Outcome", space: "SearchSpace", output: Path) -> None:
    from mvcn.evaluation.metrics import METRIC_TITLES
    from mvcn.experiments.tuning_study import OPTIMISTIC, RECIPE_FILE

    best = outcome.best
    counts = ", ".join(f"{number} {state}" for state, number in sorted(outcome.counts.items()))
    assert best.value is not None  # it is complete
    typer.echo(
        f"Best of {sum(outcome.counts.values())} trials ({counts}): {METRIC_TITLES[space.metric]} "
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
    from mvcn.evaluation import format_table

    shares = outcome.importance
    rows = [("setting", "best", "importance" if shares else "")]
    for name in sorted(outcome.best.settings, key=lambda name: -shares.get(name, 0.0)):
        value = outcome.best.settings[name]
        shown = f"{value:.3g}" if isinstance(value, float) else str(value)
        rows.append((name, shown, f"{100 * shares[name]:.0f} %" if shares else ""))
    return format_table(rows)
