"""Options that several commands share."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import typer

from mvcn.data.datasets import DATASETS
from mvcn.errors import ConfigError
from mvcn.plugins import use_plugins
from mvcn.types import BadImagePolicy, Quoting, TargetScore

if TYPE_CHECKING:
    from mvcn.config import DataConfig

DataName = Annotated[
    str,
    typer.Option(
        "--data",
        help=f"What the posts are: {', '.join(DATASETS)}, or a plug-in's. A table is your own "
        "file of posts.",
    ),
]
PostsPlace = Annotated[
    Path | None, typer.Argument(help="Folder or file of the posts, short for --root.")
]
Root = Annotated[Path | None, typer.Option(help="Folder or file of the posts.")]
Splits = Annotated[
    Path | None,
    typer.Option(
        help="Folder with train.txt, dev.txt, test.txt, one id a line; or one of published folds, "
        "with --fold."
    ),
]
Fold = Annotated[
    int | None,
    typer.Option(min=1, help="Number of a published fold of MVSA; --splits is their folder."),
]
Split = Annotated[
    str | None, typer.Option(help="Only this split of the posts: train, dev or test.")
]
COLUMNS_EXAMPLE = "text=tweet,image=photo"
Columns = Annotated[
    str | None,
    typer.Option(
        help=f"Names of columns, as in {COLUMNS_EXAMPLE}, where they differ from the usual ones; "
        "label= reads no labels."
    ),
]
Encoding = Annotated[
    str | None,
    typer.Option(
        help="Of text files, by its Python name such as cp1252; by default UTF-8 or UTF-16."
    ),
]
QuotingOption = Annotated[
    Quoting | None,
    typer.Option(
        "--quoting",
        help="Of CSV and TSV: minimal interprets quotes, none keeps them; auto detects which.",
    ),
]
Sheet = Annotated[
    str | None, typer.Option(help="Sheet of an Excel workbook; by default the first.")
]
NormalizeLabels = Annotated[
    bool | None,
    typer.Option(
        "--normalize-labels",
        help="Merge labels that differ only in case or whitespace, in lower case.",
        show_default=False,
    ),
]
Images = Annotated[
    Path | None, typer.Option(help="Folder of the images; by default that of the posts.")
]
TextOnly = Annotated[
    bool | None,
    typer.Option("--text-only", help="Ignore images: every post is its text alone."),
]
TrainPosts = Annotated[
    Path | None, typer.Option("--train", help="Training posts, instead of a split of --root.")
]
DevPosts = Annotated[Path | None, typer.Option("--dev", help="Dev posts, with --train.")]
Target = Annotated[
    TargetScore | None,
    typer.Option(
        "--for",
        help="Score for which classes are predicted; macro-f1: rare ones more often. By default "
        "that of the training, which is accuracy by default.",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace earlier output.")]
Run = Annotated[Path, typer.Argument(help="Run folder written by mvcn train.")]
OnBadImage = Annotated[
    BadImagePolicy,
    typer.Option(
        help="For an unreadable image: error stops, blank uses the post without its image, "
        "drop leaves the post out. All are counted."
    ),
]
BackendName = Annotated[
    Literal["auto", "torch", "onnx"],
    typer.Option(
        "--backend",
        help="What computes: PyTorch, or the graphs of mvcn export; auto takes graphs that fit.",
    ),
]
Precision = Annotated[
    float | None,
    typer.Option(
        help="Label only posts of which at least this share is right, with 90 % confidence."
    ),
]
PluginNames = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin",
        metavar="MODULE",
        help="Module with a model, loss or dataset of your own, repeatable; installed plug-ins are "
        "found without it.",
    ),
]
Dataset: TypeAlias = Mapping[str, Any]
"""The settings of a dataset that were given on the command line; see `reads_posts`."""
DATASET_OPTIONS: dict[str, tuple[Any, Any]] = {
    "data": (DataName, "table"),
    "columns": (Columns, None),
    "images": (Images, None),
    "text_only": (TextOnly, None),
    "encoding": (Encoding, None),
    "quoting": (QuotingOption, None),
    "sheet": (Sheet, None),
    "normalize_labels": (NormalizeLabels, None),
}
"""Option of every command that reads posts -> its type and its default value."""


def given(**values: Any) -> dict[str, Any]:
    """Return the values that were given on the command line."""
    return {name: value for name, value in values.items() if value is not None}


def reads_posts(*without: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace a command's parameter ``dataset`` by the options of `DATASET_OPTIONS`.

    The command gets those that were given, as a mapping of settings of `DataConfig`. A command with
    a parameter ``root`` and none for ``posts`` takes the place of its posts without an option, too.

    Args:
        without: Options that the command does not need.
    """
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in DATASET_OPTIONS.items()
        if name not in without
    ]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def with_dataset(**values: Any) -> None:
            named = {option.name: values.pop(option.name) for option in options}
            if named["columns"] is not None:
                named["columns"] = parse_pairs(named["columns"], "--columns", COLUMNS_EXAMPLE)
            command(dataset=given(name=named.pop("data", None), **named), **values)

        found = _with_options(with_dataset, [*_own_options(command), *options])
        own = inspect.signature(command).parameters
        return _with_posts(found) if "root" in own and "posts" not in own else found

    return decorate


def _with_posts(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an argument that is short for its option ``--root``."""
    argument = inspect.Parameter(
        "posts", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=PostsPlace
    )

    @functools.wraps(command)
    def with_posts(posts: Path | None, root: Path | None, **values: Any) -> None:
        if posts is not None and root is not None:
            raise ConfigError(f"Use either {posts} or --root {root}, not both.")
        command(root=posts if root is None else root, **values)

    return _with_options(with_posts, [*_own_options(command), argument])


def takes_plugins(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the option ``--plugin``, whose modules are imported before it runs."""
    option = inspect.Parameter(
        "plugin", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=PluginNames
    )

    @functools.wraps(command)
    def with_plugins(plugin: list[str] | None, **values: Any) -> None:
        use_plugins(plugin or [])
        command(**values)

    return _with_options(with_plugins, [*_own_options(command), option])


def _with_options(
    command: Callable[..., None], options: Sequence[inspect.Parameter]
) -> Callable[..., None]:
    """Let typer read these options instead of the parameters of the function."""
    command.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in options}
    return command


def _own_options(command: Callable[..., None]) -> list[inspect.Parameter]:
    return [
        option.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for option in inspect.signature(command).parameters.values()
        if option.name != "dataset"
    ]


def data_config(dataset: Mapping[str, Any], **values: Any) -> "DataConfig":
    """Return the settings of a dataset from what was given on the command line."""
    from mvcn.config import RunConfig

    config = RunConfig()
    config.update({"data": {**dataset, **given(**values)}})
    return config.data


def parse_pairs(text: str, option: str, example: str) -> dict[str, str]:
    """Return name -> value, from ``name=value,name=value``.

    Raises:
        ConfigError: The text has another form, or a name twice.
    """
    pairs: dict[str, str] = {}
    for pair in text.split(","):
        name, equals, value = (part.strip() for part in pair.partition("="))
        if not name or not equals or name in pairs:
            raise ConfigError(f"{option} '{text}' is not valid: write it like {option} {example}.")
        pairs[name] = value
    return pairs


def least_probability(
    run: Path, precision: float | None, target: TargetScore | None = None
) -> float:
    """Return the probability that labels need to reach a precision, and print their share.

    Args:
        run: Run folder.
        precision: Target precision on held-out posts; None gives every post a label.
        target: Another score than that of the training, for which there is no such probability.
    """
    if precision is None:
        return 0.0
    if target is not None:
        raise ConfigError(
            "Use either --precision or --for, not both: the precision threshold was chosen for the "
            "score used in training."
        )
    from mvcn.training import run_folder

    threshold = run_folder.Run(run).threshold(precision)
    typer.echo(
        f"Labels need a probability of {threshold.confidence:.3f}: of the held-out posts, "
        f"{100 * threshold.coverage:.0f} % get one, and {100 * threshold.precision:.1f} % of these "
        "are correct.",
        err=True,
    )
    return threshold.confidence
