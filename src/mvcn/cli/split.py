"""``mvcn split``."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from mvcn.cli.options import Dataset, Root, data_config, parse_pairs, reads_posts
from mvcn.cli.process import print_posts, set_up_process
from mvcn.data.bad_images import WITHOUT_CONTENT, missing_input
from mvcn.data.reading import learnable_posts, read_dataset
from mvcn.data.splits import (
    count_labels,
    k_folds,
    remove_splits,
    require_splits_folder,
    require_writable,
    stratified_split,
    write_splits,
)
from mvcn.errors import ConfigError, DataError
from mvcn.types import Post

SHARES = "train=0.8,dev=0.1,test=0.1"


@reads_posts()
def split(
    dataset: Dataset,
    root: Root,
    output: Annotated[Path, typer.Option(help="Folder to write the lists of ids to.")],
    shares: Annotated[
        str | None, typer.Option(help="Splits and their shares of the posts.", show_default=SHARES)
    ] = None,
    folds: Annotated[
        int | None, typer.Option(help="Folds of cross-validation, in place of shares.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides which post goes where.")] = 0,
    together: Annotated[
        bool,
        typer.Option(
            "--keep-duplicates-together/--ignore-duplicates",
            help="Whether posts that are nearly the same in text or image stay in one split.",
        ),
    ] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace earlier splits.")] = False,
) -> None:
    """Split labelled posts into train, dev and test, or into folds, with classes in proportion."""
    set_up_process()
    if folds is not None and shares is not None:
        raise ConfigError("Give either --shares or --folds, not both.")
    parsed = _parse_shares(SHARES if shares is None else shares)
    require_splits_folder(output, overwrite=overwrite)
    corpus = read_dataset(data_config(dataset, root=root), root)
    posts = learnable_posts(corpus.posts)
    if not posts:
        raise DataError(f"{root} has no labelled posts to split: give posts with labels.")

    def assign(groups: Sequence[int] | None) -> dict[Path, dict[str, list[Post]]]:
        if folds is None:
            return {output: stratified_split(posts, parsed, seed, groups)}
        in_order = enumerate(k_folds(posts, folds, seed, groups))
        return {output / f"fold-{k}": fold for k, fold in in_order}

    for splits in assign(None).values():  # says what is wrong before the long look at the images
        require_writable(splits)
    groups = _duplicate_groups(posts) if together else None
    how = {"shares": parsed} if folds is None else {"folds": folds}
    about = {"seed": seed, **how, **_about_groups(groups)}
    assigned = assign(groups)
    for folder in (output, *output.glob("fold-*")) if overwrite else ():
        remove_splits(folder)
    for folder, splits in assigned.items():
        write_splits(folder, splits, corpus.posts, about, overwrite=overwrite)
        typer.echo(f"{folder}\n{_table(splits)}\n")
    _print_rest(corpus.posts, about)


def _parse_shares(text: str) -> dict[str, float]:
    """Return the name of each split -> its share, from ``train=0.8,dev=0.2``."""
    try:
        return {name: float(share) for name, share in parse_pairs(text, "--shares", SHARES).items()}
    except ValueError as error:
        raise ConfigError(f"--shares '{text}' must look like {SHARES}.") from error


def _duplicate_groups(posts: Sequence[Post]) -> list[int]:
    from mvcn.data.images import describe_images_of
    from mvcn.data.near_duplicates import duplicate_groups

    facts = describe_images_of(posts)
    problems = {
        post.id: fact.problem
        for post, fact in zip(posts, facts, strict=True)
        if fact is not None and fact.problem is not None
    }
    print_posts(problems, "image(s) could not be read; only equal files were recognised")
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
    """Return the number of posts in each split, in all and per class."""
    from mvcn.evaluation import format_table

    counts = {name: count_labels(posts) for name, posts in splits.items()}
    labels = sorted({label for of_split in counts.values() for label in of_split})
    rows = [["split", "posts", *labels]]
    for name, of_split in counts.items():
        cells = [sum(of_split.values()), *(of_split.get(label, 0) for label in labels)]
        rows.append([name, *map(str, cells)])
    return format_table(rows, are_numbers=True)


def _print_rest(posts: Sequence[Post], about: Mapping[str, Any]) -> None:
    """Say what the tables do not: duplicates, and posts that are in no split."""
    if "groups_of_duplicates" in about:
        groups = about["groups_of_duplicates"]
        typer.echo(
            f"{about['posts_in_groups_of_duplicates']} posts are in {groups} group"
            f"{'' if groups == 1 else 's'} of near-duplicates, each kept in one split."
            if groups
            else "No two posts are near-duplicates."
        )
    empty = sum(missing_input(post) is not None for post in posts)
    if empty:
        typer.echo(f"Left out: {empty} post(s), {WITHOUT_CONTENT}.")
    unlabelled = sum(post.label is None and missing_input(post) is None for post in posts)
    if unlabelled:
        typer.echo(f"{unlabelled} posts have no label, so they are in no split.")
