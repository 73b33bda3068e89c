"""Figures of the page on a run, as SVG: calibration, abstaining, more posts, training curves."""

from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from itertools import cycle, groupby
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from mvcn.evaluation.metrics import METRIC_TITLES
from mvcn.evaluation.selective_classification import RiskCoverage

NUM_BINS = 10
FEWEST_POSTS = 10
"""Whose accuracy says something."""
COLORS = ("#0b57a4", "#d95f02", "#1b9e77", "#7570b3", "#e7298a", "#66a61e")
NO_LOSSES = {
    "grad_norm",
    "learning_rate",
    "epoch",
    "step",
    "total_flos",
    "train_loss",
    "member",
}
DEV_SCORES = ("accuracy", "f1_weighted", "f1_macro")


def reliability(
    probabilities: Float[np.ndarray, "batch classes"], labels: Int[np.ndarray, " batch"]
) -> str:
    """Return the reliability diagram: accuracy by confidence, as SVG; bins of few posts are pale.

    Source:
        Guo et al., ICML 2017, Figure 1.
    """
    confidence, is_right = probabilities.max(1), probabilities.argmax(1) == labels
    bins = np.minimum((confidence * NUM_BINS).astype(int), NUM_BINS - 1)
    figure = Figure(figsize=(4.6, 3.6), layout=ConstrainedLayoutEngine())
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], "--", color="#777777", linewidth=1)
    for k in np.unique(bins):
        members, place = bins == k, (k + 0.5) / NUM_BINS
        color = "#7a9cc6" if members.sum() >= FEWEST_POSTS else "#dbe4f0"
        axis.bar(place, is_right[members].mean(), 0.9 / NUM_BINS, color=color)
        mean = confidence[members].mean(), is_right[members].mean()
        axis.plot(*mean, "o", color="#0b3a6b", ms=4, clip_on=False)
        axis.annotate(str(members.sum()), (place, 0.02), ha="center", fontsize=8)
    axis.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="accuracy")
    return _svg(figure)


def abstaining(curves: Mapping[str, RiskCoverage]) -> str:
    """Return accuracy against coverage, one curve for each reason to give no label.

    Curves begin where enough posts have a label.
    """
    figure = Figure(figsize=(4.6, 3.4), layout=ConstrainedLayoutEngine())
    axis = figure.subplots()
    for color, (name, curve) in zip(COLORS, curves.items(), strict=False):
        start = min(FEWEST_POSTS, len(curve.coverage)) - 1
        shown = 100 * curve.coverage[start:], 100 * curve.accuracy[start:]
        axis.plot(*shown, color=color, label=name)
    axis.set(xlabel="posts with a label, %", ylabel="accuracy on them, %", xlim=(0, 100))
    axis.legend(fontsize=8, frameon=False)
    return _svg(figure)


def learning_curve(curve: Mapping[str, Any]) -> str:
    """Return accuracy against the number of training posts, and what more of them should bring.

    Args:
        curve: ``learning_curve`` of the baselines in the metrics of a run.
    """
    figure = Figure(figsize=(4.6, 3.4), layout=ConstrainedLayoutEngine())
    axis = figure.subplots()
    posts, accuracy = curve["posts"], [100 * value for value in curve["accuracy"]]
    axis.plot(posts, accuracy, "o-", color=COLORS[0], label="measured")
    more = [int(factor) * posts[-1] for factor in curve["expected"]]
    interval = 100 * np.array([*curve["expected"].values()])
    middle = interval.mean(1)
    bars = axis.errorbar(more, middle, interval[:, 1] - middle, fmt="o", color=COLORS[1], capsize=4)
    bars.set_label("expected, 95 % interval")
    axis.set_xscale("log", base=2)
    axis.set_xticks([*posts, *more], [f"{one:,}" for one in (*posts, *more)], fontsize=8)
    axis.minorticks_off()
    axis.set(xlabel="training posts", ylabel="accuracy, %")
    axis.legend(fontsize=8, frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return _svg(figure)


def training_curves(rows: Sequence[Mapping[str, str]], kept: int | None = None) -> dict[str, str]:
    """Return curves of the training losses and, if there are any, of the dev scores over epochs.

    Args:
        rows: The log, one row an epoch; of an ensemble, with the number of the ``member``.
        kept: The epoch whose weights the run has, if it was chosen; it is marked.

    Returns:
        Title -> SVG; nothing without rows.
    """
    if not rows:
        return {}
    curves = {"Losses over the epochs": _loss_curves(rows, kept)}
    if any(row.get("eval_loss") for row in rows):
        curves["Dev scores over the epochs"] = _score_curves(rows, kept)
    return curves


def _loss_curves(rows: Sequence[Mapping[str, str]], kept: int | None) -> str:
    figure, axis = _epochs_figure("loss")
    terms = [
        name
        for name in rows[0]
        if not name.startswith(("eval_", "train_")) and name not in NO_LOSSES
    ]
    members = list(_by_member(rows))
    width = 1.4 if len(members) == 1 else 0.6
    for color, name in zip(cycle(COLORS), terms, strict=False):
        for member in members:
            (line,) = axis.plot(*_series(member, name), ".-", color=color, linewidth=width)
            line.set_markersize(2 * width)
        line.set_label(name.replace("_", " "))
    if any(row.get("eval_loss") for row in rows):
        axis.plot(*_series(rows, "eval_loss"), "k.--", label="dev loss")
    _mark(axis, kept)
    return _svg(figure)


def _by_member(rows: Sequence[Mapping[str, str]]) -> Iterator[list[Mapping[str, str]]]:
    """Yield the rows of each member; all rows of a model without members."""
    for _, member in groupby(rows, lambda row: row.get("member")):
        yield list(member)


def _score_curves(rows: Sequence[Mapping[str, str]], kept: int | None) -> str:
    figure, axis = _epochs_figure("dev, %")
    for color, name in zip(COLORS, DEV_SCORES, strict=False):
        epochs, values = _series(rows, f"eval_{name}")
        percent = [100 * value for value in values]
        axis.plot(epochs, percent, "o-", color=color, label=METRIC_TITLES[name])
    _mark(axis, kept)
    return _svg(figure)


def _mark(axis: Axes, kept: int | None) -> None:
    """Mark the epoch that was kept, and name the curves above the picture, where there are none."""
    if kept is not None:
        axis.axvline(kept, color="#777777", linestyle=":", label=f"epoch {kept}, kept")
    axis.legend(fontsize=8, frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def _epochs_figure(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.6, 3.4), layout=ConstrainedLayoutEngine())
    axis = figure.subplots()
    axis.set(xlabel="epoch", ylabel=title)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return figure, axis


def _series(rows: Sequence[Mapping[str, str]], name: str) -> tuple[list[float], list[float]]:
    points = [(float(row["epoch"]), float(row[name])) for row in rows if row.get(name)]
    return [epoch for epoch, _ in points], [value for _, value in points]


def _svg(figure: Figure) -> str:
    """Return the SVG element alone, without the XML prolog."""
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "mvcn", "font.family": "sans-serif"}):
        figure.savefig(
            stream := StringIO(), format="svg", metadata={"Date": None}, transparent=True
        )
    text = stream.getvalue()
    return text[text.index("<svg") :]
