"""A run as one page: scores, calibration, curves, maps, and explanations of single posts."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from mvcn.audit.label_errors import likely_label_errors
from mvcn.data.images import open_thumbnail
from mvcn.data.near_duplicates import have_near_duplicate
from mvcn.data.posts import label_ids
from mvcn.data.text import has_text
from mvcn.errors import DataError, MvcnError
from mvcn.evaluation.baselines import COLUMNS, baseline_rows
from mvcn.evaluation.metrics import Evaluation, evaluate_groups, evaluate_predictions, metric_rows
from mvcn.evaluation.selective_classification import Threshold, risk_coverage
from mvcn.explain.figures import draw_maps, heat_map
from mvcn.explain.observation import measure_clusters, observe, space_of
from mvcn.explain.post import Explanation, Word, explain
from mvcn.explain.run import TrainedRun
from mvcn.inputs.batches import EncodedPosts
from mvcn.report.curves import abstaining, reliability, training_curves
from mvcn.report.html import jpeg_address, png_address, write_page
from mvcn.runtime.batches import MODALITIES
from mvcn.types import DEFAULT_SALIENCY, Post, probability_columns

MARK = "mvcn report"
SHOWN_POSTS = 6
"""Of each group: the best, the worst, and those with doubtful labels."""
DIGITS = 3
"""Of the scores on the page."""
THUMBNAIL_PX = 224
PRECISIONS = (0.8, 0.9, 0.95)
HOW = {"accuracy": "accuracy", "F1": "f1", "calibration": "calibration", "log": "likelihood"}
"""Word in the title of a metric -> name of the sentence about it in how.html.jinja."""
NUM_LENGTHS = 3
"""Groups of posts by the length of their texts."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The held-out posts of a run, and what training predicted for them."""

    posts: EncodedPosts
    labels: Int[np.ndarray, " batch"]
    probabilities: Float[np.ndarray, "batch classes"]

    @property
    def predicted(self) -> Int[np.ndarray, " batch"]:
        """The number of the most probable class of each post."""
        return np.asarray(self.probabilities.argmax(1))


def write_report(
    run: TrainedRun, path: Path, demo: Mapping[str, Any] | None = None, figure: bytes = b""
) -> None:
    """Write the page about the held-out posts of a run.

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
    held_out, names = _held_out(run), run.model.class_names
    evaluation = evaluate_predictions(held_out.probabilities, held_out.labels, names)
    return {
        "mark": MARK,
        "title": f"Report on {run.folder.resolve().name}",
        "held_out": run.held_out,
        "members": run.model.config.members,
        "evaluation": evaluation,
        **_baselines(run),
        "metrics": _metrics(evaluation),
        "precisions": _precisions(run),
        "confusion": _confusion(evaluation),
        "reliability": reliability(held_out.probabilities, held_out.labels),
        "temperature": run.model.config.temperature,
        "curves": training_curves(run.history, _kept_epoch(run)),
        **_of_dev_posts(run, held_out),
        "slices": _slices(run, held_out),
        **_explained_posts(run, held_out),
        "run": run.metrics,
        "environment": run.environment,
        "network": run.config.model.network,
        "target": run.config.training.target,
    }


def _baselines(run: TrainedRun) -> dict[str, Any]:
    """Return what the model is worth, and the table of baselines; empty for an earlier run."""
    found = run.metrics.get("baselines")
    if found is None:
        return {"conclusion": [], "baselines": []}
    rows = baseline_rows(found, run.evaluation)
    return {"conclusion": found["conclusion"], "baselines": rows, "baseline_columns": COLUMNS}


def _metrics(evaluation: Evaluation) -> list[tuple[str, ...]]:
    """Return title, value and interval of each metric, and which sentence says how it is made."""
    return [
        (*row, next(how for word, how in HOW.items() if word in row[0]))
        for row in metric_rows(evaluation, DIGITS)
    ]


def _precisions(run: TrainedRun) -> dict[str, Threshold | None]:
    """Return each precision -> its threshold; None if these posts are too few to be sure of it."""
    found: dict[str, Threshold | None] = {}
    for precision in PRECISIONS:
        with suppress(MvcnError):
            found[f"{precision:g}"] = run.threshold(precision)
        found.setdefault(f"{precision:g}", None)
    return found


def _kept_epoch(run: TrainedRun) -> int | None:
    """Return the epoch that dev posts chose; None for an ensemble, which is trained to the end."""
    return run.metrics["epochs"]["best"] if run.held_out == "dev" else None


def _held_out(run: TrainedRun) -> HeldOut:
    """Return the held-out posts that can be read, and their predictions from the run folder."""
    encoded = run.shown if run.held_out == "dev" else run.train
    rows = {row["id"]: row for row in run.predictions()}
    known = [i for i, post in enumerate(encoded.posts) if post.id in rows]
    if not known:
        raise DataError(
            f"None of the posts of {run.folder} was predicted, because they have changed: train "
            "the run again."
        )
    posts, names = encoded.select(known), run.model.class_names
    columns = probability_columns(names)
    scores = [[float(rows[post.id][name]) for name in columns] for post in posts.posts]
    return HeldOut(posts, np.array(label_ids(posts.posts, names)), np.array(scores))


def _of_dev_posts(run: TrainedRun, held_out: HeldOut) -> dict[str, Any]:
    """Return the map and the curves of abstaining; no map without dev posts."""
    if not run.has_dev:
        return {"map": "", **_abstaining(held_out.probabilities, held_out.labels)}
    seen, names = list(observe(run.model, run.shown)), run.model.class_names
    space = space_of(seen, run.shown.posts, names)
    rows = np.stack([one.probabilities for one in seen])
    spread = [one.disagreement for one in seen if one.disagreement is not None]
    return {
        "map": png_address(draw_maps({"dev posts": space})),
        "clusters": measure_clusters(space),
        **_abstaining(rows, space.labels, spread),
    }


def _abstaining(
    probabilities: Float[np.ndarray, "batch classes"],
    labels: Int[np.ndarray, " batch"],
    disagreement: Sequence[float] = (),
) -> dict[str, Any]:
    """Return the curves of accuracy against coverage by each reason, and the area of each."""
    certainties = {"low probability": probabilities.max(1)}
    if disagreement:
        certainties["high disagreement"] = -np.array(disagreement)
    is_right = probabilities.argmax(1) == labels
    found = {name: risk_coverage(one, is_right) for name, one in certainties.items()}
    areas = {name: curve.area for name, curve in found.items()}
    return {"abstaining": abstaining(found), "areas": areas, "error": 1 - is_right.mean()}


def _explained_posts(run: TrainedRun, held_out: HeldOut) -> dict[str, Any]:
    """Return the cards of the best and the worst predictions and of doubtful labels."""
    probabilities, labels = held_out.probabilities, held_out.labels
    order = probabilities[np.arange(len(labels)), labels].argsort(kind="stable")
    is_right = held_out.predicted[order] == labels[order]
    worst = order[~is_right][:SHOWN_POSTS].tolist()
    best = order[is_right][::-1][:SHOWN_POSTS].tolist()
    doubtful = likely_label_errors(probabilities, labels)
    cards = _cards(run, held_out, sorted({*worst, *best, *doubtful[:SHOWN_POSTS]}))
    return {
        "groups": {
            "Most confident correct predictions": [cards[i] for i in best],
            "Largest errors": [cards[i] for i in worst],
        },
        "doubtful": [cards[i] for i in doubtful[:SHOWN_POSTS]],
        "doubtful_ids": [held_out.posts.posts[i].id for i in doubtful],
    }


def _cards(
    run: TrainedRun, held_out: HeldOut, positions: Sequence[int]
) -> dict[int, dict[str, Any]]:
    """Return position of a held-out post -> its card."""
    posts, names = held_out.posts.select(positions), run.model.class_names
    found = explain(
        run.model, run.processor, posts, DEFAULT_SALIENCY, run.train_space, run.train.posts
    )
    return {
        i: {
            **_card(one),
            "predicted": names[held_out.predicted[i]],
            "probabilities": dict(zip(names, held_out.probabilities[i].tolist(), strict=True)),
        }
        for i, one in zip(positions, found, strict=True)
    }


def _card(explanation: Explanation) -> dict[str, Any]:
    """Return what a card says of an explanation; addresses of pictures are empty without them."""
    image, heat = _pictures(explanation)
    near = [f"{near.post.id} ({near.post.label})" for near in explanation.neighbours]
    return {
        "id": explanation.post.id,
        "label": str(explanation.post.label),
        "explained": explanation.predicted,
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


def _slices(run: TrainedRun, held_out: HeldOut) -> Mapping[str, Mapping[str, Evaluation]]:
    """Return kind of slice -> group -> scores, of kinds with more than one group.

    Folds keep near-duplicates together, so that posts out of fold have none.
    """
    posts, learned = held_out.posts.posts, run.posts.train if run.held_out == "dev" else []
    evaluated = {
        title: evaluate_groups(
            held_out.probabilities, held_out.labels, groups, run.model.class_names
        )
        for title, groups in slices(posts, learned).items()
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
