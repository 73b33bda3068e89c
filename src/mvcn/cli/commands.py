"""The commands by name, whose modules are imported when they are called, not for --help."""

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

COMMANDS = {
    "audit": ("dataset", "Find duplicates, leakage, bad images, garbled texts."),
    "bulk": ("predict", "Classify very many posts, shard by shard."),
    "compare": ("experiment", "Compare the variants of experiments, and show what is noise."),
    "demo": ("experiment", "Train on generated posts, and see where the model looks."),
    "evaluate": ("evaluate", "Evaluate a run on labelled posts."),
    "experiment": ("experiment", "Train a grid of settings, datasets and seeds."),
    "explain": ("explain", "Explain predictions of posts, or map a run's feature space."),
    "export": ("models", "Write the model of a run as ONNX graphs."),
    "models": ("models", "List the models that can be trained, and their sources."),
    "predict": ("predict", "Classify a table of posts, or a single post."),
    "prepare": ("dataset", "Convert a dataset into Parquet files that hold the images."),
    "report": ("explain", "Write a page on a run: scores, curves, best and worst posts."),
    "serve": ("serve", "Answer requests over HTTP, with a page to try a run."),
    "split": ("dataset", "Split posts into train, dev and test, or into folds."),
    "train": ("train", "Train a model, and evaluate it on held-out posts."),
    "tune": ("experiment", "Search for the settings that are best on dev."),
}
"""Name of a command -> module of `mvcn.cli` with a function of that name, and a summary."""
WITHOUT_PLUGINS = ("compare", "demo")
"""Commands that name neither a model nor a dataset."""
SETTINGS: dict[str, Any] = {
    "add_completion": False,
    "pretty_exceptions_enable": False,
    "rich_markup_mode": None,  # Rich would take longer than all else of --help
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


class Commands(TyperGroup):
    """The group of all commands, each imported when it is called."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, (_, summary) in COMMANDS.items():
            self.add_command(TyperCommand(name, help=summary))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return the name of a command, the command, and its arguments."""
        name, known, rest = super().resolve_command(ctx, args)
        return name, known and load(str(name)), rest


def load(name: str) -> Any:
    """Import a command, and give it the option for plug-ins if they can make a difference to it."""
    from mvcn.cli.options import takes_plugins  # not for --help

    app = typer.Typer(**SETTINGS)
    command = getattr(import_module(f"mvcn.cli.{COMMANDS[name][0]}"), name)
    app.command(name)(command if name in WITHOUT_PLUGINS else takes_plugins(command))
    return typer.main.get_command(app)
