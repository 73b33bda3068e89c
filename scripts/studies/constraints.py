"""Constraints on features compared; writes results/constraints.json.

Run from the repository's root: ``python -m scripts.studies.constraints``, in .venv-bench.

One network, with one hidden layer, learns each dataset by cross-entropy and one constraint on its
hidden features: none, the semantic congruity constraint (relative and absolute), center loss,
supervised contrastive loss, and Proxy-Anchor loss of pytorch-metric-learning. The weight of each
constraint is the one of `WEIGHTS` that is best on a fifth of the training rows; then the network is
trained on all of them with five seeds and evaluated on rows that were never used.

Data: the digits of scikit-learn, and, where their folders are given, MVSA-Single (frozen features
of text and image) and HFM (frozen features of the texts, whitespace as the encoder reads it).
"""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from mvcn.audit.label_errors import post_features
from mvcn.cli.process import set_up_process
from mvcn.config import DataConfig
from mvcn.data.reading import read_training_posts
from mvcn.losses import SemanticCongruityLoss
from mvcn.types import CongruityForm, ImageFacts, Post
from scripts import results

WEIGHTS = (0.01, 0.1, 1.0)
SEEDS = range(5)
HIDDEN, EPOCHS, BATCH, LEARNING_RATE = 100, 30, 64, 1e-3
MAX_ROWS = 5000
HELD_OUT = 0.2

Constraint = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Rows:
    """Features and classes to train on and to evaluate on."""

    train: Tensor
    train_classes: Tensor
    test: Tensor
    test_classes: Tensor

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return int(self.train_classes.max()) + 1


class CenterLoss(nn.Module):
    """Half the squared distance to a center of the class that is learned (Wen et al., ECCV 2016).

    The centers are learned by the optimizer of the network, and not by a rule of their own.
    """

    def __init__(self, num_classes: int, dim: int) -> None:
        super().__init__()
        self.centers = nn.Parameter(torch.zeros(num_classes, dim))

    def forward(self, features: Tensor, classes: Tensor) -> Tensor:
        """Return the mean over rows."""
        return (features - self.centers[classes]).square().sum(1).mean() / 2


def constraints(num_classes: int, rows: int) -> Mapping[str, Callable[[], nn.Module | None]]:
    """Return name -> how to make a new one."""
    from pytorch_metric_learning.losses import ProxyAnchorLoss, SupConLoss

    queue = min(3600, rows)
    return {
        "none": lambda: None,
        "semantic congruity": lambda: _congruity(num_classes, queue, "ratio"),
        "absolute distance": lambda: _congruity(num_classes, queue, "absolute"),
        "center loss": lambda: CenterLoss(num_classes, HIDDEN),
        "supervised contrastive": SupConLoss,
        "Proxy-Anchor": lambda: ProxyAnchorLoss(num_classes, HIDDEN),
    }


def _congruity(num_classes: int, queue: int, form: CongruityForm) -> SemanticCongruityLoss:
    """Return the constraint as it was when this was measured: 0 until the queue is full."""
    return SemanticCongruityLoss(num_classes, HIDDEN, queue, form, min_samples_per_class=queue)


def main(
    mvsa: Annotated[Path | None, typer.Option(help="Folder of MVSA-Single with splits/.")] = None,
    hfm: Annotated[Path | None, typer.Option(help="Folder of HFM.")] = None,
    seeds: Annotated[int, typer.Option(min=1)] = len(SEEDS),
    epochs: Annotated[int, typer.Option(min=1)] = EPOCHS,
) -> None:
    """Compare the constraints on each dataset and keep the numbers."""
    set_up_process()
    torch.set_num_threads(1)  # the network is too small for two
    found = {}
    for name, rows in _datasets(mvsa, hfm):
        kinds = constraints(rows.num_classes, len(rows.train))
        bar = tqdm(kinds.items(), desc=name, unit="constraint")
        found[name] = {
            "rows": {"train": len(rows.train), "test": len(rows.test)},
            "constraints": {kind: _evaluate(rows, build, seeds, epochs) for kind, build in bar},
        }
    settings = {
        "hidden": HIDDEN,
        "epochs": epochs,
        "seeds": seeds,
        "batch": BATCH,
        "weights": list(WEIGHTS),
    }
    results.write("constraints", {"data": found, "settings": settings})


def _datasets(mvsa: Path | None, hfm: Path | None) -> Iterator[tuple[str, Rows]]:
    yield "digits", _digits()
    if mvsa is not None:
        yield (
            "mvsa-single",
            _posts(DataConfig(name="mvsa-single", root=mvsa, splits=mvsa / "splits")),
        )
    if hfm is not None:
        yield "hfm, texts alone", _posts(DataConfig(name="hfm", root=hfm, text_only=True))


def _digits() -> Rows:
    pixels, classes = load_digits(return_X_y=True)
    train, test, train_classes, test_classes = train_test_split(
        pixels, classes, test_size=0.5, stratify=classes, random_state=0
    )
    return _scaled(train, train_classes, test, test_classes)


def _posts(config: DataConfig) -> Rows:
    posts = read_training_posts(config, seed=0)
    random = np.random.default_rng(0)
    parts = [
        [part[i] for i in sorted(random.permutation(len(part))[:MAX_ROWS])]
        for part in (posts.train, posts.dev)
    ]
    features, classes = [], []
    for part in parts:
        features.append(_features(part))
        classes.append(np.array([posts.class_names.index(str(post.label)) for post in part]))
    return _scaled(features[0], classes[0], features[1], classes[1])


def _features(posts: Sequence[Post]) -> np.ndarray:
    """Return mean token features of the packaged encoders."""
    return post_features(
        posts, [None if post.image is None else ImageFacts(digest="") for post in posts]
    )


def _scaled(
    train: np.ndarray, train_classes: np.ndarray, test: np.ndarray, test_classes: np.ndarray
) -> Rows:
    scaler = StandardScaler().fit(train)
    tensors = [torch.tensor(scaler.transform(part), dtype=torch.float32) for part in (train, test)]
    return Rows(tensors[0], torch.tensor(train_classes), tensors[1], torch.tensor(test_classes))


def _evaluate(
    rows: Rows, build: Callable[[], nn.Module | None], seeds: int, epochs: int
) -> dict[str, Any]:
    """Choose the weight on a fifth of the training rows, then train with each seed."""
    inner = _held_out(rows)
    weights = WEIGHTS if build() is not None else (0.0,)
    tried = {weight: _train(inner, build, weight, 100, epochs)[0] for weight in weights}
    best = max(tried, key=tried.__getitem__)
    runs = [_train(rows, build, best, seed, epochs) for seed in range(seeds)]
    accuracies = [accuracy for accuracy, _ in runs]
    return {
        "weight": best,
        "held_out_accuracy": tried,
        "accuracies": accuracies,
        "mean": statistics.fmean(accuracies),
        "deviation": statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0,
        "microseconds_per_step": min(time for _, time in runs),
    }


def _held_out(rows: Rows) -> Rows:
    train, test, classes, test_classes = train_test_split(
        rows.train,
        rows.train_classes,
        test_size=HELD_OUT,
        stratify=rows.train_classes,
        random_state=0,
    )
    return Rows(train, classes, test, test_classes)


def _train(
    rows: Rows, build: Callable[[], nn.Module | None], weight: float, seed: int, epochs: int
) -> tuple[float, float]:
    """Return the accuracy on test rows, and the median microseconds of a step."""
    torch.manual_seed(seed)
    body = nn.Sequential(nn.Linear(rows.train.shape[1], HIDDEN), nn.GELU())
    output, constraint = nn.Linear(HIDDEN, rows.num_classes), build()
    parts = [part for part in (body, output, constraint) if part is not None]
    parameters = [parameter for part in parts for parameter in part.parameters()]
    optimizer = torch.optim.AdamW(parameters, LEARNING_RATE, fused=True)
    seconds = []
    for _ in range(epochs):
        for chosen in torch.randperm(len(rows.train)).split(BATCH):
            started = time.perf_counter()
            features, classes = body(rows.train[chosen]), rows.train_classes[chosen]
            loss = F.cross_entropy(output(features), classes)
            if constraint is not None:
                loss = loss + weight * constraint(features, classes)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seconds.append(time.perf_counter() - started)
    with torch.inference_mode():
        predicted = output(body(rows.test)).argmax(1)
    return accuracy_score(rows.test_classes, predicted), 1e6 * statistics.median(seconds)


if __name__ == "__main__":
    typer.run(main)
