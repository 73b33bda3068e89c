"""``mvcn prepare``."""

import shlex
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from mvcn.cli.options import Dataset, OnBadImage, Root, Splits, data_config, reads_posts
from mvcn.cli.process import OUTCOME
from mvcn.data.bad_images import WITHOUT_CONTENT, require_images
from mvcn.data.datasets.prepared import FOLDER
from mvcn.data.prepare import prepare as prepare_posts
from mvcn.data.reading import read_all


@reads_posts()
def prepare(
    dataset: Dataset,
    root: Root,
    output: Annotated[Path, typer.Option(help="Folder to fill, new or empty.")],
    splits: Splits = None,
    on_bad_image: OnBadImage = "error",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace prepared posts that are there.")
    ] = False,
) -> None:
    """Turn posts of any kind into one folder of Parquet files, with images and what is in them.

    Interrupted, the same command continues.
    """
    started = time.monotonic()
    corpus = read_all(data_config(dataset, root=root, splits=splits))
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
    for reason, ids in index["removed"].items():
        typer.echo(f"Left out: {len(ids)} post(s), {reason}.")
    empty = set(index["removed"].get(WITHOUT_CONTENT, ()))
    for post_id, why in index["bad_images"].items():
        outcome = OUTCOME["drop" if post_id in empty else on_bad_image]
        typer.echo(f"  post {post_id} was {outcome}: {why}", err=True)
    for part in dict.fromkeys(shard["part"] for shard in index["shards"]):
        labels: Counter[str] = Counter()
        for shard in index["shards"]:
            if shard["part"] == part:
                labels.update(shard["labels"])
        counts = ", ".join(f"{labels[name]} {name or 'without a label'}" for name in sorted(labels))
        typer.echo(f"{part}: {sum(labels.values())} posts ({counts})")
