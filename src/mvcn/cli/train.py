"""``mvcn train``."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mvcn.cli.options import (
    Dataset,
    DevPosts,
    Fold,
    Overwrite,
    Splits,
    Target,
    TrainPosts,
    given,
    reads_posts,
)
from mvcn.cli.process import RANK, print_problems, set_up_process
from mvcn.errors import ConfigError, count_of, require_torch
from mvcn.plugins import named_modules, use_plugins
from mvcn.types import BadImagePolicy

if TYPE_CHECKING:
    from mvcn.config import RunConfig
    from mvcn.training.run_folder import Run


NOT_REMEMBERED = {"name", "images", "encoding", "quoting", "sheet"}
"""Settings of posts that a run does not keep for mvcn predict, unlike the names of columns."""
NEW_POSTS = "new"
"""Name, in the next command, of a table of other posts than those that were learned."""


@reads_posts()
def train(
    dataset: Dataset,
    output: Annotated[Path, typer.Option(help="Run folder, new or empty.")],
    posts: Annotated[
        Path | None,
        typer.Argument(help="File of the posts, short for --root, or --train if --dev is given."),
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="Folder or file of the posts; its train and dev splits.")
    ] = None,
    splits: Splits = None,
    fold: Fold = None,
    train: TrainPosts = None,
    dev: DevPosts = None,
    model: Annotated[
        str | None, typer.Option(help="Model of mvcn models, trained by its recipe if it has one.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Recipe by name, or a YAML file; by default 'default'.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights, order and dropout.")] = None,
    target: Target = None,
    on_bad_image: Annotated[
        BadImagePolicy | None, typer.Option(help="For unreadable images; see mvcn predict.")
    ] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting, as section.key=value.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Train a model, evaluate it on held-out posts, and write a run folder."""
    set_up_process(shares_work=True)
    require_torch("mvcn train")
    config = _start(model, recipe)
    if posts is not None:
        root, train = _place(posts, root, train, is_split=dev is not None)
    places = given(root=root, splits=splits, fold=fold, train=train, dev=dev)
    places |= given(on_bad_image=on_bad_image)
    config.update({"data": {**dataset, **places}, "training": given(seed=seed, target=target)})
    config.set(assignments or [])
    use_plugins(config.training.plugins)
    config.training.plugins = named_modules()

    from mvcn.training.checks import check_training

    found = check_training(config, output, resume=resume, overwrite=overwrite)
    from mvcn.training.run import train as run_training  # takes seconds, which mistakes need not

    run = run_training(config, output, resume=resume, overwrite=overwrite, posts=found)
    if RANK == 0:
        _print_summary(run)


def _place(
    posts: Path, root: Path | None, train: Path | None, *, is_split: bool
) -> tuple[Path | None, Path | None]:
    """Return `root` and `train` for posts that are named without an option."""
    for option, other in (("--root", root), ("--train", train)):
        if other is not None:
            raise ConfigError(
                f"Both {posts} and {option} {other} are posts to train on: leave one of them out."
            )
    return (None, posts) if is_split else (posts, None)


def _start(model: str | None, recipe: str | None) -> "RunConfig":
    """Return the settings of a recipe, or those from which a model starts."""
    from mvcn.config import read_recipe
    from mvcn.models.registry import settings_of_model

    if model is None:
        return read_recipe(recipe or "default")
    if recipe is not None:
        raise ConfigError(
            "Use either --model or --recipe, not both: each model has its own recipe."
        )
    return settings_of_model(model)


def _print_summary(run: "Run") -> None:
    metrics = run.metrics
    for reason, count in metrics["removed"].items():
        typer.echo(f"Left out: {count_of(count, 'post')}, {reason}.")
    for split, count in metrics["unused_splits"].items():
        typer.echo(f"Not used: {count_of(count, 'post')} of the split {split}.")
    for split, bad in metrics["bad_images"].items():
        print_problems(bad, metrics["left_out"][split], run.config.data.on_bad_image)
    typer.echo(f"{_scores(run)}\n{_baselines(run)}\n{_class_balance(run)}")
    typer.echo(f"The run is in {run.folder}: {_next_command(run)}")


def _scores(run: "Run") -> str:
    scores, epochs, posts = run.evaluation, run.metrics["epochs"], run.metrics["posts"]
    if run.held_out == "dev":
        how = f"best on {count_of(posts['dev'], 'dev post')} after epoch {epochs['best']}"
    elif run.metrics["members"] == 1:
        how = "evaluated by cross-validation"
    else:
        members = run.metrics["members"]
        how = f"{members} members, each evaluated on the posts that it was not trained on"
    lines = [f"Trained on {count_of(posts['train'], 'post')}; {how}: {_in_percent(scores)}."]
    if run.held_out != "dev" and posts["dev"]:
        dev = f"On {count_of(posts['dev'], 'dev post')}, which no member was trained on"
        lines.append(f"{dev}: {_in_percent(run.metrics['dev'])}.")
    return "\n".join(lines)


def _in_percent(scores: Mapping[str, Any]) -> str:
    return (
        f"accuracy {100 * scores['accuracy']:.1f}, "
        f"weighted F1 {100 * scores['f1_weighted']:.1f}, macro F1 {100 * scores['f1_macro']:.1f}"
    )


def _baselines(run: "Run") -> str:
    """Return a table of the model and the baselines, and what the model is worth."""
    from mvcn.evaluation.baselines import format_baselines

    found = run.metrics["baselines"]
    used, posts = found["posts"], run.metrics["posts"]
    lines = [format_baselines(found, run.evaluation), *found["conclusion"]]
    if used["train"] < posts["train"]:
        lines.insert(1, f"Linear models were trained on {count_of(used['train'], 'post')} of them.")
    return "\n".join(lines)


def _class_balance(run: "Run") -> str:
    """Return what the offsets of the logits for macro F1 change."""
    found = run.metrics["class_balance"]
    before, after = (
        f"accuracy {100 * found['accuracy_' + when]:.1f}, "
        f"macro F1 {100 * found['f1_macro_' + when]:.1f}"
        for when in ("before", "after")
    )
    if not found["strength"]:
        return "Predicting rare classes more often would not raise macro F1 (--for macro-f1)."
    if run.config.training.target == "macro-f1":
        return f"Rare classes are predicted more often: {after}, cross-fitted; without: {before}."
    return f"With --for macro-f1, rare classes are predicted more often: {after}, cross-fitted."


def _next_command(run: "Run") -> str:
    """Return the command that classifies other posts, read in the same way as those given."""
    data = run.config.data
    options = data.model_dump(include=NOT_REMEMBERED, exclude_defaults=True)
    given = data.root or data.train
    new = given.with_stem(NEW_POSTS) if given is not None and given.is_file() else given
    words = ["mvcn", "predict", run.folder, new]
    for name, value in options.items():
        words += ["--data" if name == "name" else f"--{name}", value]
    for module in run.config.training.plugins:
        words += ["--plugin", module]
    return shlex.join(map(str, [*words, "--output", "out.csv"]))
