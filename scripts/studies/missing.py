"""Train on MVSA-Single without some images and texts; writes results/missing-modality.json.

Run from the repository's root: ``python -m scripts.studies.missing DIR``, with splits in
DIR/splits. Three posts in ten lose their image and one in ten its text, in train and dev. One model
masks what is missing; the other is given a black image, and a text of the padding token. Finished
runs are kept and not trained again.
"""

import base64
import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image

from mvcn.cli.process import set_up_process
from mvcn.config import RunConfig, read_recipe
from mvcn.data.reading import read_posts
from mvcn.evaluation.metrics import evaluate_groups, evaluate_predictions
from mvcn.inference.classifier import Classifier
from mvcn.training.run import train
from mvcn.training.run_folder import Run
from mvcn.types import Post
from scripts import results
from scripts.results import spread

WITHOUT_IMAGE, WITHOUT_TEXT = 0.3, 0.1
METRICS = ("accuracy", "f1_weighted", "f1_macro")
ZERO_TEXT = "[PAD]"
"""The token whose number is 0."""
ZEROS = "zeros"
WAYS: dict[str, dict[str, Any]] = {
    "masked": {},
    "masked-and-dropout": {"model": {"modality_dropout": 0.2}},
    ZEROS: {},
}
"""Way to deal with what is missing -> settings that go with it."""
COLUMNS = ("id", "text", "image", "label", "text_label", "image_label")


def main(
    root: Annotated[Path, typer.Argument(help="Folder of MVSA-Single.")],
    seeds: Annotated[list[int] | None, typer.Option("--seed")] = None,
    runs: Annotated[Path, typer.Option(help="Where the run folders go.")] = Path("runs/missing"),
) -> None:
    """Train all models with each seed and evaluate them on the dev posts, by what those have."""
    set_up_process()
    config = read_recipe("single")
    config.update({"data": {"name": "mvsa-single", "root": root, "splits": root / "splits"}})
    rows: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for seed in seeds or [0, 1, 2]:
        splits = {
            name: _take_away(read_posts(config.data, name).posts) for name in ("train", "dev")
        }
        for way in rows:
            rows[way].append(_run(splits, way, seed, runs, root / "data"))
    content = {
        "data": "MVSA-Single, the published split of 3611 / 450 / 450 posts, dev split",
        "taken_away": {"image": WITHOUT_IMAGE, "text": WITHOUT_TEXT},
        "seeds": rows,
        "summary": {way: _summary(found) for way, found in rows.items()},
    }
    results.write("missing-modality", content)


def _take_away(posts: Sequence[Post]) -> list[Post]:
    """Return the posts without some images and texts, the same ones for every seed and way."""
    chance = np.random.default_rng(0).permutation(len(posts)) / len(posts)
    return [
        replace(post, image=None)
        if c < WITHOUT_IMAGE
        else replace(post, text="")
        if c < WITHOUT_IMAGE + WITHOUT_TEXT
        else post
        for post, c in zip(posts, chance, strict=True)
    ]


def _run(
    splits: Mapping[str, Sequence[Post]], way: str, seed: int, runs: Path, images: Path
) -> dict[str, Any]:
    output = runs / f"{way}-{seed}"
    tables = {
        name: _write(posts, runs / f"{way}-{name}.csv", way) for name, posts in splits.items()
    }
    config = read_recipe("single")
    config.update(
        {"data": {**tables, "images": images}, "training": {"seed": seed, "export": False}}
    )
    config.update(WAYS[way])
    run = Run(output)
    if not run.is_finished:
        train(config, output, resume=run.is_started)
    return {"seed": seed, **_evaluate(config, output, splits["dev"])}


def _write(posts: Sequence[Post], path: Path, way: str) -> str:
    """Write a table of the posts; with zeros in place of what is missing, if that is the way."""
    path.parent.mkdir(parents=True, exist_ok=True)
    empty_text, empty_image = (ZERO_TEXT, _black_image()) if way == ZEROS else ("", "")
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for post in posts:
            image = post.image.name if isinstance(post.image, Path) else empty_image
            labels = (post.label, post.text_label, post.image_label)
            writer.writerow([post.id, post.text or empty_text, image, *labels])
    return str(path)


def _black_image() -> str:
    stream = BytesIO()
    Image.new("RGB", (224, 224)).save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def _evaluate(config: RunConfig, output: Path, dev: Sequence[Post]) -> dict[str, Any]:
    classifier = Classifier.from_pretrained(output)
    table = read_posts(config.data.model_copy(update={"root": config.data.dev})).posts
    rows = np.array([list(p.probabilities.values()) for p in classifier.predict(table)])
    names = classifier.class_names
    labels = np.array([names.index(str(post.label)) for post in dev])
    kinds = [_kind(post) for post in dev]
    groups = evaluate_groups(rows, labels, kinds, names)
    evaluated = {"all": evaluate_predictions(rows, labels, names), **groups}
    return {
        kind: {"n": found.n} | {metric: getattr(found, metric) for metric in METRICS}
        for kind, found in evaluated.items()
    }


def _kind(post: Post) -> str:
    return "text alone" if post.image is None else "text and image" if post.text else "image alone"


def _summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    kinds = [kind for kind in rows[0] if kind != "seed"]
    return {
        kind: {metric: spread([row[kind][metric] for row in rows]) for metric in METRICS}
        for kind in kinds
    }


if __name__ == "__main__":
    typer.run(main)
