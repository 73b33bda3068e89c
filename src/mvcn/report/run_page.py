"""A run as one page: scores, calibration, curves, maps, and explanations of single posts."""

from collections.abc import Mapping, Sequence
from io import StringIO
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from mvcn.audit.label_errors import likely_label_errors
from mvcn.data.images import open_thumbnail
from mvcn.data.near_duplicates import have_near_duplicate
from mvcn.data.text import has_text
from mvcn.evaluation import (
    Evaluation,
    evaluate_groups,
    evaluate_predictions,
)
from mvcn.evaluation.baselines import COLUMNS, baseline_rows
from mvcn.evaluation.metrics import METRIC_TITLES, metric_rows
from mvcn.explain.figures import draw_maps, heat_map
from mvcn.explain.observation import measure_clusters, observe, space_of
from mvcn.explain.post import Explanation, Word, explain
from mvcn.explain.run import TrainedRun
from mvcn.explain.saliency import DEFAULT_METHOD
from mvcn.inputs.batches import MODALITIES
from mvcn.report.html import jpeg_address, png_address, write_page
from mvcn.types import Post

MARK = "mvcn report"
SHOWN_POSTS = 6
"""Of each group: the best, the worst, and those with doubtful labels."""
DIGITS = 3
"""Of the scores on the page."""
THUMBNAIL_PX = 224
NUM_LENGTHS = 3
"""Groups of posts by the length of their texts."""
NUM_BINS = 10
COLORS = ("#0b57a4", "#d95f02", "#1b9e77", "#7570b3", "#e7298a", "#66a61e")
NO_LOSSES = {"grad_norm", "learning_rate", "epoch", "step", "total_flos", "train_loss"}
DEV_SCORES = ("accuracy", "f1_weighted", "f1_macro")


def write_report(
    run: TrainedRun, path: Path, demo: Mapping[str, Any] | None = None, figure: bytes = b""
) -> None:
    """Write the page about the dev posts of a run.

    Args:
        run: The run.
        path: File of the page.
        demo: Content of ``report.json`` of a demonstration, which gets a section of the page.
        figure: Content of its ``attention.png``.

    Raises:
        DataError: The posts of the run have moved or changed.
        RunError: A file in the run folder is missing or damaged.
        BadImageError: An image cannot be read, and the policy of the run is ``error``.
    """
    about = {"demo": demo, "figure": png_address(figure)}
    write_page(path, "run.html.jinja", {**_content(run), **about})


def _content(run: TrainedRun) -> dict[str, Any]:
    seen = list(observe(run.model, run.dev))
    space = space_of(seen, run.dev.posts, run.model.class_names)
    probabilities, labels = np.stack([one.probabilities for one in seen]), space.labels
    evaluation = evaluate_predictions(probabilities, labels, space.class_names)
    return {
        "mark": MARK,
        "title": f"Report on {run.folder.resolve().name}",
        "evaluation": evaluation,
        **_baselines(run),
        "metrics": list(metric_rows(evaluation, DIGITS)),
        "confusion": _confusion(evaluation),
        "reliability": reliability(probabilities, labels),
        "temperature": run.model.config.temperature,
        "curves": training_curves(run.history),
        "map": png_address(draw_maps({"dev posts": space})),
        "clusters": measure_clusters(space),
        "slices": _slices(run, probabilities, labels),
        **_explained_posts(run, probabilities, labels),
        "run": run.metrics,
        "environment": run.environment,
        "network": run.config.model.network,
    }


def _baselines(run: TrainedRun) -> dict[str, Any]:
    """Return what the model is worth, and the table of baselines; empty for an earlier run."""
    found = run.metrics.get("baselines")
    if found is None:
        return {"conclusion": [], "baselines": []}
    rows = baseline_rows(found, run.evaluation)
    return {"conclusion": found["conclusion"], "baselines": rows, "baseline_columns": COLUMNS}


def _explained_posts(
    run: TrainedRun,
    probabilities: Float[np.ndarray, "batch classes"],
    labels: Int[np.ndarray, " batch"],
) -> dict[str, Any]:
    """Return the cards of the best and the worst predictions and of doubtful labels."""
    order = probabilities[np.arange(len(labels)), labels].argsort(kind="stable")
    is_right = probabilities.argmax(1)[order] == labels[order]
    worst = order[~is_right][:SHOWN_POSTS].tolist()
    best = order[is_right][::-1][:SHOWN_POSTS].tolist()
    doubtful = likely_label_errors(probabilities, labels)
    cards = _cards(run, sorted({*worst, *best, *doubtful[:SHOWN_POSTS]}))
    return {
        "groups": {
            "Most confident correct predictions": [cards[i] for i in best],
            "Largest errors": [cards[i] for i in worst],
        },
        "doubtful": [cards[i] for i in doubtful[:SHOWN_POSTS]],
        "doubtful_ids": [run.dev.posts[i].id for i in doubtful],
    }


def _cards(run: TrainedRun, positions: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Return position of a dev post -> its card."""
    posts = run.encode([run.dev.posts[i] for i in positions])
    found = explain(
        run.model, run.processor, posts, DEFAULT_METHOD, run.train_space, run.train.posts
    )
    return {i: _card(one) for i, one in zip(positions, found, strict=True)}


def _card(explanation: Explanation) -> dict[str, Any]:
    """Return the content of a post's card; addresses of pictures are empty without an image."""
    image, heat = _pictures(explanation)
    near = [f"{near.post.id} ({near.post.label})" for near in explanation.neighbours]
    return {
        "id": explanation.post.id,
        "label": str(explanation.post.label),
        "predicted": explanation.predicted,
        "probabilities": explanation.probabilities,
        "words": _scaled(explanation.words),
        "image": image,
        "heat": heat,
        "neighbours": ", ".join(near),
    }


def _scaled(words: Sequence[Word]) -> list[tuple[str, float]]:
    """Return each word and its saliency, from -1 (against the predicted class) to 1 (for it)."""
    peak = max((abs(word.saliency) for word in words), default=0.0) or 1.0
    return [(word.text, word.saliency / peak) for word in words]


def _pictures(explanation: Explanation) -> tuple[str, str]:
    if explanation.post.image is None or explanation.saliency is None:
        return "", ""
    picture = open_thumbnail(explanation.post.image, THUMBNAIL_PX)
    return jpeg_address(picture), jpeg_address(heat_map(picture, explanation.saliency))


def _confusion(evaluation: Evaluation) -> list[tuple[str, list[tuple[int, float]]]]:
    """Return each class with the counts of its posts by prediction, and their shares."""
    return [
        (name, [(count, count / max(sum(row), 1)) for count in row])
        for name, row in zip(evaluation.per_class, evaluation.confusion_matrix, strict=True)
    ]


def _slices(
    run: TrainedRun,
    probabilities: Float[np.ndarray, "batch classes"],
    labels: Int[np.ndarray, " batch"],
) -> Mapping[str, Mapping[str, Evaluation]]:
    """Return kind of slice -> group -> scores, of kinds with more than one group."""
    evaluated = {
        title: evaluate_groups(probabilities, labels, groups, run.model.class_names)
        for title, groups in slices(run.dev.posts, run.posts.train).items()
    }
    return {title: groups for title, groups in evaluated.items() if groups}


def slices(posts: Sequence[Post], train_posts: Sequence[Post]) -> Mapping[str, Sequence[str]]:
    """Return kind of slice -> the group of each post."""
    near = have_near_duplicate([post.text for post in train_posts], [post.text for post in posts])
    return {
        "modalities": [MODALITIES[has_text(post.text), post.image is not None] for post in posts],
        "labels of text and image": [_agreement(post) for post in posts],
        "length of the text": _lengths(posts),
        "near-duplicate among the training texts": ["yes" if one else "no" for one in near],
    }


def _agreement(post: Post) -> str:
    if post.text_label is None or post.image_label is None:
        return "not both labelled"
    return "equal" if post.text_label == post.image_label else "different"


def _lengths(posts: Sequence[Post]) -> list[str]:
    """Return the group of each post, of about equal size and named by its range of words."""
    counts = np.array([len(post.text.split()) for post in posts])
    edges = np.unique(np.quantile(counts, np.arange(1, NUM_LENGTHS) / NUM_LENGTHS).round())
    groups = np.searchsorted(edges, counts)
    names = {}
    for group in np.unique(groups):
        members = counts[groups == group]
        names[group] = _words(int(members.min()), int(members.max()))
    return [names[group] for group in groups]


def _words(least: int, most: int) -> str:
    numbers = f"{least}" if least == most else f"{least} to {most}"
    return f"{numbers} word" if most == 1 else f"{numbers} words"


def reliability(
    probabilities: Float[np.ndarray, "batch classes"], labels: Int[np.ndarray, " batch"]
) -> str:
    """Return the reliability diagram: accuracy by confidence, as SVG.

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
        mean = confidence[members].mean(), is_right[members].mean()
        axis.plot(*mean, "o", color="#0b3a6b", ms=4, clip_on=False)
        axis.annotate(str(members.sum()), (place, 0.02), ha="center", fontsize=8)
    axis.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="accuracy")
    return _svg(figure)


def training_curves(rows: Sequence[Mapping[str, str]]) -> tuple[str, str]:
    """Return curves of the training losses and of the dev scores over the epochs, as SVG.

    Args:
        rows: The log, one row an epoch.
    """
    return _loss_curves(rows), _score_curves(rows)


def _loss_curves(rows: Sequence[Mapping[str, str]]) -> str:
    figure, axis = _epochs_figure("loss")
    terms = [
        name
        for name in rows[0]
        if not name.startswith(("eval_", "train_")) and name not in NO_LOSSES
    ]
    for color, name in zip(cycle(COLORS), terms, strict=False):
        (line,) = axis.plot(*_series(rows, name), ".-", color=color, linewidth=1.4, markersize=3)
        line.set_label(name.replace("_", " "))
    axis.plot(*_series(rows, "eval_loss"), "k.--", label="dev loss")
    axis.legend(fontsize=8, frameon=False)
    return _svg(figure)


def _score_curves(rows: Sequence[Mapping[str, str]]) -> str:
    figure, axis = _epochs_figure("dev, %")
    for color, name in zip(COLORS, DEV_SCORES, strict=False):
        epochs, values = _series(rows, f"eval_{name}")
        percent = [100 * value for value in values]
        axis.plot(epochs, percent, "o-", color=color, label=METRIC_TITLES[name])
    axis.legend(fontsize=8, frameon=False)
    return _svg(figure)


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
        figure.savefig(stream := StringIO(), format="svg", metadata={"Date": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]
