"""One network with one hidden layer, and what is added to its cross-entropy."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from pytorch_metric_learning.losses import SupConLoss
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional as F

from mvcn.losses import SemanticCongruityLoss
from scripts.studies.constraints.center_loss import CenterLoss
from scripts.studies.constraints.data import FEWEST, Rows

HIDDEN, EPOCHS, MIN_STEPS, BATCH, LEARNING_RATE = 100, 30, 300, 200, 3e-3
FOLDS = 3
QUEUE = 3600

Term = Callable[[Tensor, Tensor], Tensor]
"""Loss of hidden features and classes."""


@dataclass(frozen=True, slots=True)
class Loss:
    """What is added to the cross-entropy."""

    weights: Sequence[float]
    """To choose from by cross-validation."""
    build: Callable[[int, int], nn.Module] | None = None
    """Makes the added term for a number of classes and of training rows; None for no term."""
    is_smoothing: bool = False
    """Whether the weight is that of label smoothing."""


WEIGHTS = (0.01, 0.1, 1.0, 10.0)
LOSSES: Mapping[str, Loss] = {
    "cross-entropy": Loss((0.0,)),
    "label smoothing": Loss((0.02, 0.05, 0.1, 0.2), is_smoothing=True),
    "center loss": Loss(WEIGHTS, lambda classes, _: CenterLoss(classes, HIDDEN)),
    "supervised contrastive": Loss(WEIGHTS, lambda *_: SupConLoss()),
    "semantic congruity": Loss(
        WEIGHTS, lambda classes, rows: SemanticCongruityLoss(classes, HIDDEN, min(QUEUE, rows))
    ),
}

Predict = Callable[[Float[np.ndarray, "rows dim"]], Int[np.ndarray, " rows"]]
"""Returns the classes of rows."""


def choose_weight(draws: Sequence[Rows], loss: Loss, num_classes: int) -> float:
    """Return the weight of the best mean macro F1 on a third of each draw's training rows."""
    if len(loss.weights) == 1:
        return loss.weights[0]

    def score(weight: float) -> float:
        scores = [
            _held_out_score(rows, loss, weight, seed, num_classes)
            for seed, rows in enumerate(draws)
        ]
        return float(np.mean(scores))

    return max(loss.weights, key=score)


def _held_out_score(rows: Rows, loss: Loss, weight: float, seed: int, num_classes: int) -> float:
    folds = max(FEWEST, min(FOLDS, int(np.bincount(rows.train_classes).min())))
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    learned, held_out = next(splitter.split(rows.train, rows.train_classes))
    predict = train(rows.select(learned), loss, weight, seed, num_classes)
    predicted = predict(rows.train[held_out])
    return float(f1_score(rows.train_classes[held_out], predicted, average="macro"))


def train(rows: Rows, loss: Loss, weight: float, seed: int, num_classes: int) -> Predict:
    """Train a network on the training rows, and return what classifies others."""
    torch.manual_seed(seed)
    scaler = StandardScaler().fit(rows.train)
    inputs, classes = _scaled(scaler, rows.train), torch.from_numpy(rows.train_classes)
    body = nn.Sequential(nn.Linear(inputs.shape[1], HIDDEN), nn.GELU())
    output = nn.Linear(HIDDEN, num_classes)
    term = loss.build(num_classes, len(inputs)) if loss.build else None
    parts = [part for part in (body, output, term) if part is not None]
    optimizer = torch.optim.AdamW(
        [parameter for part in parts for parameter in part.parameters()], LEARNING_RATE, fused=True
    )
    epochs = max(EPOCHS, math.ceil(MIN_STEPS / math.ceil(len(inputs) / BATCH)))
    steps = epochs * math.ceil(len(inputs) / BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    smoothing = weight if loss.is_smoothing else 0.0
    for _ in range(epochs):
        for chosen in torch.randperm(len(inputs)).split(BATCH):
            features = body(inputs[chosen])
            value = F.cross_entropy(output(features), classes[chosen], label_smoothing=smoothing)
            if term is not None:
                value = value + weight * term(features, classes[chosen])
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            schedule.step()

    @torch.inference_mode()
    def predict(others: Float[np.ndarray, "rows dim"]) -> Int[np.ndarray, " rows"]:
        found: np.ndarray = output(body(_scaled(scaler, others))).argmax(1).numpy()
        return found

    return predict


def _scaled(scaler: StandardScaler, rows: Float[np.ndarray, "rows dim"]) -> Tensor:
    return torch.from_numpy(scaler.transform(rows).astype(np.float32))
