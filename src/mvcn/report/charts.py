"""Diagrams of a report, as SVG that scales and prints well."""

import csv
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

NUM_BINS = 10
PARTS_COLORS = ("#0b57a4", "#d95f02", "#1b9e77", "#7570b3", "#e7298a", "#66a61e")
NOT_PARTS = {"grad_norm", "learning_rate", "epoch", "step", "total_flos", "train_loss"}
DEV_SCORES = {
    "eval_accuracy": "accuracy",
    "eval_f1_weighted": "weighted F1",
    "eval_f1_macro": "macro F1",
}


def reliability(
    probabilities: Float[np.ndarray, "batch classes"], labels: Int[np.ndarray, " batch"]
) -> str:
    """Return the calibration diagram: how often posts of a given confidence are right.

    Source:
        Guo et al., ICML 2017, Figure 1.
    """
    confidence, is_right = probabilities.max(1), probabilities.argmax(1) == labels
    bins = np.minimum((confidence * NUM_BINS).astype(int), NUM_BINS - 1)
    figure = Figure(figsize=(4.6, 3.6), layout=ConstrainedLayoutEngine())
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], "--", color="#777777", linewidth=1)
    for k in np.unique(bins):
        members = bins == k
        place = (k + 0.5) / NUM_BINS
        axis.bar(place, is_right[members].mean(), 0.9 / NUM_BINS, color="#7a9cc6")
        axis.plot(confidence[members].mean(), is_right[members].mean(), "o", color="#0b3a6b", ms=4)
        axis.annotate(str(members.sum()), (place, 0.02), ha="center", fontsize=8)
    axis.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="share that is right")
    return _svg(figure)


def training_curves(history: Path) -> str:
    """Return each part of the training loss, and the dev scores, over the epochs."""
    with history.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    figure = Figure(figsize=(9, 3.4), layout=ConstrainedLayoutEngine())
    losses, scores = figure.subplots(1, 2)
    parts = [
        name
        for name in rows[0]
        if not name.startswith(("eval_", "train_")) and name not in NOT_PARTS
    ]
    for color, name in zip(PARTS_COLORS * len(parts), parts, strict=False):
        losses.plot(*_series(rows, name), color=color, linewidth=1.4, label=name.replace("_", " "))
    losses.plot(*_series(rows, "eval_loss"), "k.--", label="dev loss")
    losses.set(xlabel="epoch", ylabel="loss")
    losses.legend(fontsize=8, frameon=False)
    for color, (name, title) in zip(PARTS_COLORS, DEV_SCORES.items(), strict=False):
        epochs, values = _series(rows, name)
        scores.plot(epochs, [100 * value for value in values], "o-", color=color, label=title)
    scores.set(xlabel="epoch", ylabel="dev, %")
    scores.legend(fontsize=8, frameon=False)
    return _svg(figure)


def _series(rows: Sequence[Mapping[str, str]], name: str) -> tuple[list[float], list[float]]:
    points = [(float(row["epoch"]), float(row[name])) for row in rows if row.get(name)]
    return [epoch for epoch, _ in points], [value for _, value in points]


def _svg(figure: Figure) -> str:
    """Return the picture alone, without the head of an XML file."""
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "mvcn", "font.family": "sans-serif"}):
        figure.savefig(stream := StringIO(), format="svg", metadata={"Date": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]
