"""``mvcn evaluate``."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mvcn.cli.options import (
    Dataset,
    Fold,
    OnBadImage,
    Root,
    Run,
    Split,
    Splits,
    Target,
    data_config,
    reads_posts,
)
from mvcn.cli.process import print_problems, set_up_process
from mvcn.errors import DataError, count_of
from mvcn.files import write_json
from mvcn.outputs import begins_with, require_own_file
from mvcn.types import BadImagePolicy

if TYPE_CHECKING:
    from mvcn.inference.classifier import EvaluatedPosts
    from mvcn.types import Post

MARK = "mvcn evaluate"
"""Near the beginning of every file of scores."""


@reads_posts()
def evaluate(
    dataset: Dataset,
    run: Run,
    root: Root = None,
    split: Split = None,
    splits: Splits = None,
    fold: Fold = None,
    ids: Annotated[
        Path | None,
        typer.Option(help="File with the ids to evaluate, one per line; by default all."),
    ] = None,
    json: Annotated[
        Path | None, typer.Option(help="JSON file for the scores; replaces earlier ones.")
    ] = None,
    on_bad_image: OnBadImage = "error",
    target: Target = None,
) -> None:
    """Evaluate a run on labelled posts: scores with intervals, per class, confusion matrix."""
    from mvcn.data.reading import read_posts
    from mvcn.data.splits import read_ids, select_posts
    from mvcn.evaluation.metrics import format_evaluation, format_groups
    from mvcn.inference.classifier import Classifier
    from mvcn.training import run_folder

    set_up_process()
    run_folder.Run(run).require_model()
    if json is not None:
        kind = "file of scores by mvcn evaluate"
        require_own_file(json, kind, is_own=begins_with(json, MARK))
    config = data_config(dataset, root=root, splits=splits, fold=fold)
    classifier = Classifier.from_pretrained(run, target=target)
    corpus = read_posts(config, split, remembered=run_folder.Run(run).columns)
    if corpus.columns and "label" not in corpus.columns:
        raise DataError(
            f"{root} has no label column: say which column holds the labels with --columns "
            "label=NAME."
        )
    posts = corpus.posts if ids is None else select_posts(corpus, read_ids(ids), str(ids))
    evaluated = classifier.evaluate(posts, on_bad_image)
    print_problems(evaluated.bad_images, evaluated.left_out, on_bad_image)
    learned = _count_learned(run, posts, evaluated)
    typer.echo(format_evaluation(evaluated.evaluation))
    if evaluated.by_modality:
        typer.echo("\n" + format_groups(evaluated.by_modality))
    areas = ", ".join(f"{100 * area:.1f} % by {name}" for name, area in evaluated.risk.items())
    typer.echo(f"\nMean error where the least certain posts get no label: {areas}.")
    if json is not None:
        write_json(json, _to_mapping(evaluated, on_bad_image, learned))


def _count_learned(
    folder: Path, posts: "Sequence[Post]", evaluated: "EvaluatedPosts"
) -> int | None:
    """Say if the run was trained on the posts, or on nearly equal ones; count them if known."""
    from mvcn.training.run_folder import CARD_FILE
    from mvcn.training.run_folder import Run as RunFolder

    run = RunFolder(folder)
    if run.has_learned(posts):
        typer.echo(
            f"{folder} was trained on these posts, so the scores say nothing about new posts: see "
            f"{CARD_FILE} in the run for scores on posts it has not seen.",
            err=True,
        )
        return len(evaluated.posts)
    found = run.have_learned_text(evaluated.posts)
    if found is None:
        typer.echo(
            f"Whether {folder} was trained on some of these posts is not known: its training posts "
            "cannot be read from here.",
            err=True,
        )
        return None
    if any(found):
        typer.echo(_warning_of_learned(folder, evaluated, found), err=True)
    return sum(found)


def _warning_of_learned(folder: Path, evaluated: "EvaluatedPosts", found: Sequence[bool]) -> str:
    from mvcn.data.posts import label_ids

    labels = label_ids(evaluated.posts, [*evaluated.evaluation.per_class])
    is_right = evaluated.probabilities.argmax(1) == labels
    rest = [right for right, learned in zip(is_right, found, strict=True) if not learned]
    others = f": of the others, {100 * sum(rest) / len(rest):.1f} % are correct" if rest else ""
    have = count_of(sum(found), "post has", "posts have")
    return (
        f"Warning: {have} a text that is nearly equal to one that {folder} was trained on, so the "
        f"scores may be too good{others}."
    )


def _to_mapping(
    evaluated: "EvaluatedPosts", policy: BadImagePolicy, learned: int | None
) -> dict[str, Any]:
    return {
        "report": MARK,
        **evaluated.evaluation.to_mapping(),
        "near_duplicates_of_training_posts": learned,
        "area_under_risk_coverage": dict(evaluated.risk),
        "by_modality": {kind: one.to_mapping() for kind, one in evaluated.by_modality.items()},
        "bad_images": {"policy": policy, "posts": dict(evaluated.bad_images)},
        "left_out": dict(evaluated.left_out),
        "texts": evaluated.text_counts.to_mapping(),
    }
