"""A run as one page: scores, calibration, curves, maps, and single posts with explanations."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from mvcn.audit.label_errors import likely_label_errors
from mvcn.data.images import open_thumbnail
from mvcn.data.near_duplicates import have_near_duplicate
from mvcn.data.text import has_text
from mvcn.evaluation import (
    Evaluation,
    evaluate_groups,
    evaluate_predictions,
)
from mvcn.evaluation.metrics import METRIC_TITLES
from mvcn.explain.figures import draw_maps, heat_map
from mvcn.explain.observation import Space, measure_clusters, observe, space_of
from mvcn.explain.post import Explanation, Word, explain
from mvcn.explain.run import TrainedRun
from mvcn.explain.saliency import Method
from mvcn.inputs.batches import MODALITIES
from mvcn.report.charts import reliability, training_curves
from mvcn.report.html import jpeg_address, png_address, write_page
from mvcn.types import Post

MARK = "mvcn report"
SHOWN_POSTS = 6
"""Of the best, the worst, and the doubtful labels each."""
METHOD: Method = "occlusion"
THUMBNAIL_PX = 224
NUM_LENGTHS = 3
"""Groups of posts by the length of their texts."""


def write_report(
    run: TrainedRun, path: Path, demo: Mapping[str, Any] | None = None, figure: bytes = b""
) -> None:
    """Write the page on a run's dev posts to `path`.

    Args:
        run: To be reported on.
        path: Where the page goes.
        demo: What is in ``report.json`` of a demonstration, which then has a section.
        figure: Its ``attention.png``.

    Raises:
        DataError: The run's posts are no longer where they were.
        RunError: A file in the run folder is missing or damaged.
        BadImageError: An image cannot be read, and the run's policy is to stop.
    """
    about = {"demo": demo, "figure": png_address(figure)}
    write_page(path, "run.html.jinja", {**_content(run), **about})


def _content(run: TrainedRun) -> dict[str, Any]:
    seen = list(observe(run.model, run.dev))
    space = space_of(seen, run.dev.posts, run.model.class_names)
    rows, labels = np.stack([one.probabilities for one in seen]), space.labels
    evaluation = evaluate_predictions(rows, labels, space.class_names)
    own = rows[np.arange(len(labels)), labels]
    order = own.argsort(kind="stable")
    worst, best = order[:SHOWN_POSTS].tolist(), order[::-1][:SHOWN_POSTS].tolist()
    doubtful = likely_label_errors(rows, labels)
    cards = _cards(run, sorted({*worst, *best, *doubtful[:SHOWN_POSTS]}))
    return {
        "mark": MARK,
        "title": f"Report on {run.folder.resolve().name}",
        "evaluation": evaluation,
        "metrics": _metric_rows(evaluation),
        "confusion": _confusion(evaluation),
        "reliability": reliability(rows, labels),
        "temperature": run.model.config.temperature,
        "curves": training_curves(run.history),
        "map": png_address(draw_maps({"dev posts": space})),
        "clusters": measure_clusters(space),
        "slices": _slices(run, rows, labels, space),
        "groups": {
            "Where it is surest and right": [cards[i] for i in best],
            "Where it is furthest from the label": [cards[i] for i in worst],
        },
        "doubtful": [cards[i] for i in doubtful[:SHOWN_POSTS]],
        "doubtful_ids": [run.dev.posts[i].id for i in doubtful],
        "run": run.metrics,
        "environment": run.environment,
        "network": run.config.model.network,
    }


def _cards(run: TrainedRun, positions: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Return the cards of some dev posts by their positions."""
    posts = run.encode([run.dev.posts[i] for i in positions])
    found = explain(run.model, run.processor, posts, METHOD, run.train_space, run.train.posts)
    return {i: _card(one) for i, one in zip(positions, found, strict=True)}


def _card(explanation: Explanation) -> dict[str, Any]:
    """Return what is shown of one post; the addresses of pictures are empty without an image."""
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
    """Return each word with -1 (against the predicted class) to 1 (for it)."""
    peak = max((abs(word.saliency) for word in words), default=0.0) or 1.0
    return [(word.text, word.saliency / peak) for word in words]


def _pictures(explanation: Explanation) -> tuple[str, str]:
    if explanation.post.image is None or explanation.saliency is None:
        return "", ""
    picture = open_thumbnail(explanation.post.image, THUMBNAIL_PX)
    return jpeg_address(picture), jpeg_address(heat_map(picture, explanation.saliency))


def _metric_rows(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    rows = []
    for name, title in METRIC_TITLES.items():
        value, ends = getattr(evaluation, name), evaluation.intervals.get(name)
        if value is not None:
            rows.append((title, f"{value:.3f}", "{:.3f} to {:.3f}".format(*ends) if ends else ""))
    return rows


def _confusion(evaluation: Evaluation) -> list[tuple[str, list[tuple[int, float]]]]:
    """Return a row a class: its posts by prediction, as counts and shares of the row."""
    return [
        (name, [(count, count / max(sum(row), 1)) for count in row])
        for name, row in zip(evaluation.per_class, evaluation.confusion_matrix, strict=True)
    ]


def _slices(
    run: TrainedRun,
    rows: Float[np.ndarray, "batch classes"],
    labels: Int[np.ndarray, " batch"],
    space: Space,
) -> Mapping[str, Mapping[str, Evaluation]]:
    """Return kind of slice -> group -> scores; kinds with one group alone are left out."""
    evaluated = {
        title: evaluate_groups(rows, labels, groups, space.class_names)
        for title, groups in slices(run.dev.posts, run.posts.train).items()
    }
    return {title: groups for title, groups in evaluated.items() if groups}


def slices(posts: Sequence[Post], train_posts: Sequence[Post]) -> Mapping[str, Sequence[str]]:
    """Return each way to group the posts -> the name of each post's group."""
    near = have_near_duplicate([post.text for post in train_posts], [post.text for post in posts])
    return {
        "what the post has": [
            MODALITIES[has_text(post.text), post.image is not None] for post in posts
        ],
        "labels of text and image": [_agreement(post) for post in posts],
        "length of the text": _lengths(posts),
        "near-duplicate among the training texts": ["yes" if one else "no" for one in near],
    }


def _agreement(post: Post) -> str:
    if post.text_label is None or post.image_label is None:
        return "not annotated apart"
    return "equal" if post.text_label == post.image_label else "different"


def _lengths(posts: Sequence[Post]) -> list[str]:
    """Return groups of about equal size, named by how many words their texts have."""
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
