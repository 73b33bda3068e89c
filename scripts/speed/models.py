"""Parameters and prediction speed of each model; writes results/model-speed.json.

Run from the repository's root: ``python -m scripts.speed.models``. The weights are those before
training, which changes neither. Models take turns, so that all see the same machine.
"""

import statistics
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import torch
import typer
from tqdm import tqdm

from mvcn.cli.process import set_up_process
from mvcn.config import RunConfig, read_recipe
from mvcn.data.synthetic import generate_posts, write_table
from mvcn.data.table import read_table
from mvcn.inference.classifier import Classifier
from mvcn.inputs.processor import build_processor
from mvcn.models.build import build_model
from mvcn.models.registry import MODELS
from scripts import results
from scripts.speed.prediction import CLASSES, rate

RECIPES = ("single", "best")
"""Shown next to the models, which have recipes of their names."""


def main(
    posts: Annotated[int, typer.Option(help="Posts that are predicted, from files.")] = 256,
    rounds: Annotated[int, typer.Option(help="How often; the median is kept.")] = 5,
) -> None:
    """Measure all models on the same generated posts."""
    set_up_process()
    models = {name: _classifier(read_recipe(name)) for name in (*MODELS, *RECIPES)}
    rates: dict[str, list[float]] = {name: [] for name in models}
    with TemporaryDirectory() as folder:
        write_table(generate_posts(posts, seed=0), Path(folder))
        read = list(read_table(Path(folder) / "posts.csv").posts)
        for _ in tqdm(range(rounds), desc="Rounds"):
            for name, classifier in models.items():
                rates[name].append(
                    rate(lambda batch, of=classifier: list(of.predict(batch)), [read])
                )
    content = {
        "posts": posts,
        "threads": torch.get_num_threads(),
        "models": {name: _about(classifier, rates[name]) for name, classifier in models.items()},
    }
    results.write("model-speed", content)


def _classifier(config: RunConfig) -> Classifier:
    has_head = config.objective.unimodal_label_weight > 0
    model = build_model(config.model, CLASSES, unimodal_label_head=has_head)
    return Classifier(model, build_processor(config.model))


def _about(classifier: Classifier, rates: Sequence[float]) -> dict[str, Any]:
    parameters = list(classifier.model.parameters())
    return {
        "parameters": sum(p.numel() for p in parameters),
        "trained_parameters": sum(p.numel() for p in parameters if p.requires_grad),
        "posts_per_second": round(statistics.median(rates), 1),
    }


if __name__ == "__main__":
    typer.run(main)
