"""A run as one page for a browser, which needs no other file and asks no host."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from jinja2 import Environment, PackageLoader

from mvcn.evaluation import (
    Evaluation,
    evaluate_groups,
    evaluate_predictions,
    likely_label_errors,
)
from mvcn.explain.figures import draw_maps
from mvcn.explain.observation import observe
from mvcn.explain.post import explain
from mvcn.explain.saliency import Method
from mvcn.explain.space import Space, measure_clusters, read_space
from mvcn.explain.trained_run import TrainedRun
from mvcn.files import atomic_write
from mvcn.report.cards import Card, card
from mvcn.report.charts import reliability, training_curves
from mvcn.report.slices import slices

MARK = "mvcn report"
TEMPLATE = "page.html.jinja"
SHOWN_POSTS = 6
"""Of the best, the worst, and the doubtful labels each."""
METHOD: Method = "occlusion"
METRICS = {
    "accuracy": "accuracy",
    "f1_weighted": "weighted F1",
    "f1_macro": "macro F1",
    "f1_binary": "F1 of the second class",
    "expected_calibration_error": "calibration error",
    "negative_log_likelihood": "negative log likelihood",
}


def write_report(run: TrainedRun, path: Path) -> None:
    """Write the page on a run's dev posts to `path`.

    Raises:
        DataError: The run's posts are no longer where they were.
        RunError: A file in the run folder is missing or damaged.
        BadImageError: An image cannot be read, and the run's policy is to stop.
    """
    template = Environment(
        loader=PackageLoader("mvcn.report", ""), autoescape=True, trim_blocks=True
    ).get_template(TEMPLATE)
    with atomic_write(path) as file:
        file.write(template.render(_content(run)).encode("utf-8", "replace").decode("utf-8"))


def _content(run: TrainedRun) -> dict[str, Any]:
    seen = list(observe(run.model, run.dev))
    space = read_space(seen, run.dev.posts, run.model.class_names)
    rows, labels = np.stack([one.probabilities for one in seen]), space.labels
    evaluation = evaluate_predictions(rows, labels, space.class_names)
    own = rows[np.arange(len(labels)), labels]
    order = own.argsort(kind="stable")
    worst, best = order[:SHOWN_POSTS].tolist(), order[::-1][:SHOWN_POSTS].tolist()
    doubtful = likely_label_errors(rows, labels)
    cards = _cards(run, sorted({*worst, *best, *doubtful[:SHOWN_POSTS]}))
    return {
        "mark": MARK,
        "run": run.folder.resolve().name,
        "evaluation": evaluation,
        "metrics": _metric_rows(evaluation),
        "confusion": _confusion(evaluation),
        "reliability": reliability(rows, labels),
        "temperature": run.model.config.temperature,
        "curves": training_curves(run.history),
        "map": base64.b64encode(draw_maps({"dev posts": space})).decode(),
        "clusters": measure_clusters(space),
        "slices": _slices(run, rows, labels, space),
        "groups": {
            "Where it is surest and right": [cards[i] for i in best],
            "Where it is furthest from the label": [cards[i] for i in worst],
        },
        "doubtful": [cards[i] for i in doubtful[:SHOWN_POSTS]],
        "doubtful_ids": [run.dev.posts[i].id for i in doubtful],
        "report": run.metrics,
        "environment": run.environment,
        "network": run.config.model.network,
    }


def _cards(run: TrainedRun, positions: Sequence[int]) -> Mapping[int, Card]:
    """Return the cards of some dev posts by their positions."""
    posts = run.encode([run.dev.posts[i] for i in positions])
    found = explain(run.model, run.processor, posts, METHOD, run.train_space, run.train.posts)
    return {i: card(one) for i, one in zip(positions, found, strict=True)}


def _metric_rows(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    rows = []
    for name, title in METRICS.items():
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
    kinds = slices(run.dev.posts, run.posts.train)
    judged = {
        title: evaluate_groups(rows, labels, groups, space.class_names)
        for title, groups in kinds.items()
    }
    return {title: groups for title, groups in judged.items() if groups}
