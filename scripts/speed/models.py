"""Parameters and prediction speed of each model; writes results/model-speed.json.

Run from the repository's root: ``python -m scripts.speed.models``. The weights are those before
training, which changes neither. Models take turns, so that all see the same machine.
"""

import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import torch
import typer
from tqdm import tqdm

from mvcn.cli.process import set_up_process
from mvcn.config import ModelConfig, read_recipe
from mvcn.data.synthetic import generate_posts, write_table
from mvcn.data.table import read_table
from mvcn.inference import Classifier
from mvcn.inputs import build_processor
from mvcn.models import MODELS, build_model
from mvcn.types import Post
from scripts import results

CLASSES = ("negative", "neutral", "positive")
RECIPES = ("default", "best")
"""Shown next to the models, which have recipes of their names."""


def main(
    posts: Annotated[int, typer.Option(help="Posts that are predicted, from files.")] = 256,
    rounds: Annotated[int, typer.Option(help="How often; the median is kept.")] = 5,
) -> None:
    """Measure all models on the same generated posts."""
    set_up_process()
    names = (*MODELS, *RECIPES)
    configs = {name: read_recipe(name) for name in names}
    models = {
        name: _classifier(config.model, config.objective.annotation_weight > 0)
        for name, config in configs.items()
    }
    with TemporaryDirectory() as folder:
        write_table(generate_posts(posts, seed=0), Path(folder))
        read = list(read_table(Path(folder) / "posts.csv").posts)
        seconds: dict[str, list[float]] = {name: [] for name in names}
        for _ in tqdm(range(rounds), desc="Rounds"):
            for name, classifier in models.items():
                seconds[name].append(_seconds(classifier, read))
    content = {
        "posts": posts,
        "threads": torch.get_num_threads(),
        "models": {name: _about(models[name], posts, seconds[name]) for name in names},
    }
    results.write("model-speed", content)


def _classifier(config: ModelConfig, has_head: bool) -> Classifier:
    model = build_model(config, CLASSES, annotation_head=has_head)
    return Classifier(model, build_processor(config))


def _seconds(classifier: Classifier, posts: list[Post]) -> float:
    started = time.perf_counter()
    count = sum(1 for _ in classifier.predict(posts))
    assert count == len(posts)
    return time.perf_counter() - started


def _about(classifier: Classifier, posts: int, seconds: list[float]) -> dict[str, Any]:
    parameters = list(classifier.model.parameters())
    return {
        "parameters": sum(p.numel() for p in parameters),
        "trained_parameters": sum(p.numel() for p in parameters if p.requires_grad),
        "posts_per_second": round(posts / statistics.median(seconds), 1),
    }


if __name__ == "__main__":
    typer.run(main)
