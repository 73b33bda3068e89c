"""Commands on a dataset: ``mvcn audit``, ``mvcn prepare`` and ``mvcn split``."""

import shlex
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from mvcn.audit.kinds import KINDS
from mvcn.cli.options import (
    Dataset,
    DevPosts,
    Fold,
    OnBadImage,
    Overwrite,
    Root,
    Splits,
    TrainPosts,
    data_config,
    parse_pairs,
    reads_posts,
)
from mvcn.cli.process import OUTCOME, print_posts, set_up_process
from mvcn.errors import ConfigError, DataError, count_of, format_table, which_of
from mvcn.files import write_json
from mvcn.outputs import begins_with, require_own_file
from mvcn.types import Post

FOUND = 1
"""Exit code if a kind of --fail-on was found."""
SHARES = "train=0.8,dev=0.1,test=0.1"


@reads_posts()
def audit(
    dataset: Dataset,
    root: Root = None,
    splits: Splits = None,
    fold: Fold = None,
    train: TrainPosts = None,
    dev: DevPosts = None,
    json: Annotated[
        Path | None, typer.Option(help="JSON file for all findings; replaces an earlier one.")
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(help="HTML page for examples with pictures; replaces an earlier one."),
    ] = None,
    label_errors: Annotated[
        bool,
        typer.Option("--label-errors", help="Also search for wrong labels, which takes minutes."),
    ] = False,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND", help=f"Exit with code 1 if this is found: {', '.join(KINDS)}."
        ),
    ] = None,
) -> None:
    """Find faults in a dataset: duplicates across splits, bad images, garbled texts, labels."""
    from mvcn.audit.audit import audit as find_all
    from mvcn.audit.findings import MARK, read_audited_posts, summary_lines, to_mapping
    from mvcn.report.audit_page import write_audit

    kinds = _known_kinds(fail_on or [], label_errors)
    _require_places([path for path in (json, html) if path is not None], MARK)
    config = data_config(dataset, root=root, splits=splits, fold=fold, train=train, dev=dev)
    if label_errors:
        set_up_process()
    audited = read_audited_posts(config)
    findings = find_all(audited, label_errors)
    typer.echo("\n".join(summary_lines(audited, findings)))
    if json is not None:
        write_json(json, to_mapping(audited, findings))
        typer.echo(f"All findings are in {json}.")
    if html is not None:
        write_audit(audited, findings, html)
        typer.echo(f"Open {html} in a browser to see examples.")
    if failed := [kind for kind in kinds if findings[kind].count]:
        typer.echo(f"Failed because of --fail-on: found {', '.join(failed)}.", err=True)
        raise typer.Exit(FOUND)


def _known_kinds(kinds: Sequence[str], label_errors: bool) -> Sequence[str]:
    for kind in kinds:
        if kind not in KINDS:
            raise ConfigError(f"--fail-on {kind} is not a kind of finding: {which_of(kind, KINDS)}")
    if "label_errors" in kinds and not label_errors:
        raise ConfigError("--fail-on label_errors needs --label-errors: add it.")
    return kinds


def _require_places(paths: Sequence[Path], mark: str) -> None:
    """Raise an error if an output would replace a file of another kind."""
    for path in paths:
        require_own_file(path, "report of mvcn audit", is_own=begins_with(path, mark))
    if len({path.resolve() for path in paths}) < len(paths):
        raise ConfigError(f"--json and --html both point to {paths[0]}: use two files.")


@reads_posts()
def prepare(
    dataset: Dataset,
    output: Annotated[Path, typer.Option(help="Folder to fill, new or empty.")],
    root: Root = None,
    splits: Splits = None,
    fold: Fold = None,
    on_bad_image: OnBadImage = "error",
    overwrite: Overwrite = False,
) -> None:
    """Convert a dataset into a folder of Parquet files, with the images and facts about them.

    After an interruption, the same command resumes.
    """
    from mvcn.data.bad_images import require_images
    from mvcn.data.datasets.prepared import FOLDER
    from mvcn.data.prepare import prepare as prepare_posts
    from mvcn.data.reading import read_all

    started = time.monotonic()
    corpus = read_all(data_config(dataset, root=root, splits=splits, fold=fold))
    require_images(corpus.posts, on_bad_image)
    index = prepare_posts(
        corpus, output, dataset=dataset["name"], on_bad_image=on_bad_image, overwrite=overwrite
    )
    seconds = time.monotonic() - started
    _print_summary(index, on_bad_image)
    size = sum(path.stat().st_size for path in (output / FOLDER).iterdir()) / 1e6
    typer.echo(
        f"Wrote {size:,.1f} MB to {output}, {len(corpus.posts) / seconds:,.0f} posts a second.\n"
        f"Next step: mvcn train --data prepared --root {shlex.quote(str(output))} --output RUN"
    )


def _print_summary(index: Mapping[str, Any], on_bad_image: str) -> None:
    from mvcn.data.bad_images import WITHOUT_CONTENT

    for reason, ids in index["removed"].items():
        typer.echo(f"Left out: {count_of(len(ids), 'post')}, {reason}.")
    empty = set(index["removed"].get(WITHOUT_CONTENT, ()))
    for post_id, why in index["bad_images"].items():
        outcome = OUTCOME["drop" if post_id in empty else on_bad_image]
        typer.echo(f"  post {post_id!r} was {outcome}: {why}", err=True)
    for split_name in dict.fromkeys(shard["part"] for shard in index["shards"]):
        labels: Counter[str] = Counter()
        for shard in index["shards"]:
            if shard["part"] == split_name:
                labels.update(shard["labels"])
        counts = ", ".join(f"{labels[name]} {name or 'without a label'}" for name in sorted(labels))
        typer.echo(f"{split_name}: {count_of(sum(labels.values()), 'post')} ({counts})")


@reads_posts()
def split(
    dataset: Dataset,
    output: Annotated[Path, typer.Option(help="Folder to write the lists of ids to.")],
    root: Root = None,
    shares: Annotated[
        str | None, typer.Option(help="Splits and their shares of the posts.", show_default=SHARES)
    ] = None,
    folds: Annotated[
        int | None, typer.Option(help="Folds of cross-validation, instead of shares.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the assignment.")] = 0,
    together: Annotated[
        bool,
        typer.Option(
            "--keep-duplicates-together/--ignore-duplicates",
            help="Whether near-duplicates in text or image stay in one split.",
        ),
    ] = True,
    overwrite: Overwrite = False,
) -> None:
    """Split labelled posts into train, dev and test, or into folds, with classes in proportion."""
    from mvcn.data import splits as library
    from mvcn.data.reading import learnable_posts, read_dataset

    set_up_process()
    if folds is not None and shares is not None:
        raise ConfigError("Use either --shares or --folds, not both.")
    parsed = _parse_shares(SHARES if shares is None else shares)
    corpus = read_dataset(data_config(dataset, root=root), root)
    library.require_splits_folder(output, overwrite=overwrite)
    posts = learnable_posts(corpus.posts)
    if not posts:
        raise DataError(
            f"{root} has no labelled posts to split: add labels, or say which column holds them "
            "with --columns label=NAME."
        )

    def assign(groups: Sequence[int] | None) -> dict[Path, dict[str, list[Post]]]:
        if folds is None:
            return {output: library.stratified_split(posts, parsed, seed, groups)}
        in_order = enumerate(library.k_folds(posts, folds, seed, groups))
        return {output / f"fold-{k}": fold for k, fold in in_order}

    for splits in assign(None).values():  # fails before the slow comparison of images
        library.require_writable(splits)
    groups = _duplicate_groups(posts) if together else None
    how = {"shares": parsed} if folds is None else {"folds": folds}
    about = {"seed": seed, **how, **_about_groups(groups)}
    assigned = assign(groups)
    for folder in (output, *output.glob("fold-*")) if overwrite else ():
        library.remove_splits(folder)
    for folder, splits in assigned.items():
        library.write_splits(folder, splits, corpus.posts, about, overwrite=overwrite)
        typer.echo(f"{folder}\n{_table(splits)}\n")
    _print_rest(corpus.posts, about)


def _parse_shares(text: str) -> dict[str, float]:
    """Return the name of each split -> its share, from ``train=0.8,dev=0.2``."""
    try:
        return {name: float(share) for name, share in parse_pairs(text, "--shares", SHARES).items()}
    except ValueError as error:
        raise ConfigError(
            f"--shares '{text}' is not valid: write it like --shares {SHARES}."
        ) from error


def _duplicate_groups(posts: Sequence[Post]) -> list[int]:
    from mvcn.data.images import describe_images_of
    from mvcn.data.near_duplicates import duplicate_groups

    facts = describe_images_of(posts)
    problems = {
        post.id: fact.problem
        for post, fact in zip(posts, facts, strict=True)
        if fact is not None and fact.problem is not None
    }
    could_not = "could not be read; only equal files were recognised"
    print_posts(problems, f"image {could_not}", f"images {could_not}")
    return duplicate_groups([post.text for post in posts], facts)


def _about_groups(groups: Sequence[int] | None) -> dict[str, Any]:
    if groups is None:
        return {"duplicates": "ignored"}
    sizes = [n for n in Counter(groups).values() if n > 1]
    return {
        "duplicates": "kept together",
        "groups_of_duplicates": len(sizes),
        "posts_in_groups_of_duplicates": sum(sizes),
    }


def _table(splits: Mapping[str, Sequence[Post]]) -> str:
    """Return the number of posts in each split, in total and per class."""
    from mvcn.data.splits import count_labels

    counts = {name: count_labels(posts) for name, posts in splits.items()}
    labels = sorted({label for of_split in counts.values() for label in of_split})
    rows = [["split", "posts", *labels]]
    for name, of_split in counts.items():
        cells = [sum(of_split.values()), *(of_split.get(label, 0) for label in labels)]
        rows.append([name, *map(str, cells)])
    return format_table(rows, are_numbers=True)


def _print_rest(posts: Sequence[Post], about: Mapping[str, Any]) -> None:
    """Print what the tables omit: duplicates, and posts in no split."""
    from mvcn.data.bad_images import WITHOUT_CONTENT, missing_input

    if "groups_of_duplicates" in about:
        groups = about["groups_of_duplicates"]
        typer.echo(
            f"{about['posts_in_groups_of_duplicates']} posts are in {count_of(groups, 'group')} "
            "of near-duplicates, each kept in one split."
            if groups
            else "No two posts are near-duplicates."
        )
    empty = sum(missing_input(post) is not None for post in posts)
    if empty:
        typer.echo(f"Left out: {count_of(empty, 'post')}, {WITHOUT_CONTENT}.")
    unlabelled = sum(post.label is None and missing_input(post) is None for post in posts)
    if unlabelled:
        one, several = "post has no label, so it is", "posts have no label, so they are"
        typer.echo(f"{count_of(unlabelled, one, several)} in no split.")
