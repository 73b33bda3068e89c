"""What five members cost when they predict, as a multiple of what one model costs.

Work: that of `prediction`, one post at a time, by the recipe `default` with one member and with
five, each with trained weights of its own. Both are in one process and take turns, post by post,
so that other work on the machine slows both alike; the median over posts is what counts.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from mvcn.cli.process import set_up_process
from mvcn.config import read_recipe
from mvcn.inference.backends import Backend
from mvcn.inference.classifier import Classifier
from mvcn.inputs.processor import build_processor
from mvcn.models.build import build_model, join_members
from mvcn.runtime.graphs import weights_digest
from mvcn.training.export import write_graphs
from scripts.speed import image_features, prediction

COUNTS = (1, 5)
NOISE = 0.01
"""Standard deviation of what makes the weights of members differ."""


def prepare(folder: Path, count: int, backend: Backend) -> None:
    """Write the image files, a model of one and one of five members, and their graphs if needed."""
    image_features.prepare(folder, count)
    config = read_recipe("default").model
    processor = build_processor(config)
    for members in COUNTS:
        torch.manual_seed(0)
        model, run = build_model(config, prediction.CLASSES).eval(), folder / str(members)
        if members > 1:
            weights = [_moved(model.trained_weights()) for _ in range(members)]
            model = join_members(model, weights)
        model.save_pretrained(run)
        processor.save_pretrained(run)
        if backend == "onnx":
            write_graphs(model, processor, run, weights_digest(run))


def milliseconds(folder: Path, backend: Backend, members: int) -> float:
    """Return the median time of one prediction, with the other number of members in between."""
    set_up_process()
    asked = [Classifier.from_pretrained(folder / str(n), backend) for n in COUNTS]
    timed = [one for (one,) in prediction.batches(folder, "timed", 1)]
    measured = [_seconds(asked, post) for post in (timed[0], *timed)][1:]
    return 1000 * median(seconds[COUNTS.index(members)] for seconds in measured)


def _seconds(asked: Sequence[Classifier], post: prediction.Post) -> list[float]:
    found = []
    for classifier in asked:
        started = time.perf_counter()
        list(classifier.predict([post]))
        found.append(time.perf_counter() - started)
    return found


def _moved(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: one + NOISE * torch.randn_like(one) if one.is_floating_point() else one
        for name, one in weights.items()
    }
