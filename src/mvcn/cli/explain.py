"""``mvcn explain`` and ``mvcn report``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mvcn.cli.options import (
    Dataset,
    Fold,
    OnBadImage,
    Overwrite,
    Run,
    Splits,
    data_config,
    given,
    reads_posts,
)
from mvcn.cli.process import print_problems, set_up_process
from mvcn.errors import ConfigError, DataError, require_torch
from mvcn.outputs import begins_with, require_own_file
from mvcn.types import DEFAULT_SALIENCY, SaliencyMethod

if TYPE_CHECKING:
    from mvcn.explain.observation import Space
    from mvcn.explain.run import TrainedRun
    from mvcn.types import Post

LEARNED = (
    "The run has no dev posts, so maps and tests are about its training posts, which it was "
    "trained on: classes look better separated than those of new posts."
)


@reads_posts("normalize_labels")
def explain(
    dataset: Dataset,
    run: Run,
    output: Annotated[Path, typer.Option(help="Folder for pictures and explanation.json.")],
    post: Annotated[
        list[str] | None,
        typer.Option(help="Id of a post to explain, repeatable; by default the entire run."),
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="Where the posts are; by default those of the run.")
    ] = None,
    splits: Splits = None,
    fold: Fold = None,
    on_bad_image: OnBadImage = "error",
    method: Annotated[
        SaliencyMethod,
        typer.Option(help="How to find decisive parts of the image."),
    ] = DEFAULT_SALIENCY,
    compare_with: Annotated[
        Path | None, typer.Option(help="A second run, such as one without the constraint.")
    ] = None,
    beside: Annotated[Path | None, typer.Option(hidden=True)] = None,
    sample: Annotated[
        int, typer.Option(min=0, help="Posts on which the explanations are tested; 0 for none.")
    ] = 20,
    overwrite: Overwrite = False,
) -> None:
    """Explain predictions of posts, or map a run's dev posts, else training posts, by features."""
    from mvcn.training import run_folder

    set_up_process()
    require_torch("mvcn explain")
    compare_with = compare_with or beside  # its earlier name
    _require_matching(post, root, compare_with)
    run_folder.Run(run).require_model()
    places = given(root=root, splits=splits, fold=fold)
    chosen = _choose_posts(run, dataset, places, post) if post else []
    from mvcn.explain import run as library  # takes seconds, which mistakes need not

    opened = library.TrainedRun(run)
    if chosen:
        encoded = opened.encode(chosen, on_bad_image)
        print_problems(encoded.bad_images, encoded.left_out, on_bad_image)
        if not encoded.posts:
            raise DataError("There is nothing to explain: every post was left out.")
        library.create_gallery_folder(output, overwrite=overwrite)
        members = opened.members_without(encoded.posts) if root is None else []
        library.explain_posts(opened, encoded, output, method, _space(opened), members)
        if any(member is not None for member in members):
            typer.echo("Each post is explained by the member that was not trained on it.")
    else:
        other = None if compare_with is None else library.TrainedRun(compare_with)
        if not opened.has_dev:
            typer.echo(LEARNED, err=True)
        library.create_gallery_folder(output, overwrite=overwrite)
        library.explain_run(opened, output, other, sample)
    typer.echo(f"The pictures are in {output}, the numbers in {output / library.NUMBERS}.")


def _require_matching(post: list[str] | None, root: Path | None, compare_with: Path | None) -> None:
    if post and compare_with is not None:
        raise ConfigError("--compare-with compares whole runs: leave out --post.")
    if root is not None and not post:
        raise ConfigError("--root is only used with --post: add --post ID, or leave out --root.")


def _choose_posts(
    folder: Path, dataset: Mapping[str, Any], places: Mapping[str, Any], ids: list[str]
) -> "list[Post]":
    """Return the posts with these ids, of the run's own or of those that the options name."""
    from mvcn.data.reading import read_posts
    from mvcn.training.held_out_files import PREDICTION_FILES
    from mvcn.training.run_folder import Run as RunFolder

    run = RunFolder(folder)
    if "root" in places:
        config = data_config(dataset, **places)
        corpus = read_posts(config, labels=False, remembered=run.columns)
        return _choose(corpus.posts, ids, f"The posts of {places['root']}", corpus.columns)
    kind, held_out = ("dev", "dev") if run.posts.dev else ("training", "out_of_fold")
    file = folder / PREDICTION_FILES[held_out]
    place = f"The {kind} posts of {folder}, listed in {file},"
    return _choose(run.posts.dev or run.posts.train, ids, place, {"id": "id"})


def _choose(
    posts: "Sequence[Post]", ids: list[str], place: str, columns: Mapping[str, str]
) -> "list[Post]":
    """Return the posts with these ids.

    Args:
        posts: All posts.
        ids: Ids of posts.
        place: What the posts are, at the start of a sentence.
        columns: Our name of a column -> its name in their file.
    """
    from mvcn.data.posts import examples_of_ids

    by_id = {post.id: post for post in posts}
    unknown = [one for one in ids if one not in by_id]
    if unknown:
        raise DataError(
            f"{place} do not include the id {unknown[0]!r}: use --post with one of their ids, such "
            f"as {examples_of_ids(posts, columns)}, or choose other posts with --root."
        )
    return [by_id[one] for one in ids]


def _space(run: "TrainedRun") -> "Space | None":
    """Return the space of the training posts; None, with a message, if they are gone."""
    try:
        return run.train_space
    except (DataError, ConfigError, FileNotFoundError) as error:
        typer.echo(
            "Distances and neighbours are left out, because the training posts cannot be read: "
            f"{error}",
            err=True,
        )
        return None


def report(
    run: Run,
    output: Annotated[Path, typer.Option(help="Page to write; replaces an earlier report.")] = Path(
        "report.html"
    ),
) -> None:
    """Write one page on a run: scores, calibration, curves, maps, best and worst posts."""
    from mvcn.explain.run import TrainedRun
    from mvcn.report.run_page import MARK, write_report

    set_up_process()
    require_own_file(output, "report of mvcn report", is_own=begins_with(output, MARK))
    write_report(TrainedRun(run), output)
    typer.echo(f"Open {output} in a browser.")
