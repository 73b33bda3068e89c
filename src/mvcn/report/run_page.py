"""A run as one page: how good it is, why, what to do next, and what the numbers come from."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

from mvcn.errors import MvcnError
from mvcn.evaluation.baselines import COLUMNS, baseline_rows
from mvcn.evaluation.metrics import Evaluation, evaluate_predictions, metric_titles
from mvcn.evaluation.selective_classification import RiskCoverage, Threshold, risk_coverage
from mvcn.explain.figures import draw_maps
from mvcn.explain.observation import measure_clusters, observe, space_of
from mvcn.explain.run import TrainedRun
from mvcn.models.registry import system
from mvcn.report import interpretation
from mvcn.report.cards import Cards
from mvcn.report.curves import abstaining, learning_curve, reliability, training_curves
from mvcn.report.held_out import HeldOut, read_held_out
from mvcn.report.html import jpeg_address, png_address, write_page
from mvcn.report.judgement import (
    against_linear,
    found_classes,
    most_confused,
    tells_apart,
    worth,
)
from mvcn.report.next_steps import Numbers, is_better_than_majority, next_steps
from mvcn.report.rounding import decimals, ends, number
from mvcn.report.slices import evaluate_slices

MARK = "mvcn report"
PRECISIONS = (0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
SHOWN_PRECISIONS = 3
"""The first above the accuracy."""
HOW = {"accuracy": "accuracy", "F1": "f1", "calibration": "calibration", "log": "likelihood"}
"""Word in the title of a metric -> name of the sentence about it in how.html.jinja."""


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
    about = {"demo": demo, "figure": _smaller(figure) if demo else ""}
    write_page(path, "run.html.jinja", {**_content(run), **about})


def _content(run: TrainedRun) -> dict[str, Any]:
    held_out = read_held_out(run)
    evaluation = evaluate_predictions(
        held_out.probabilities, held_out.labels, run.model.class_names
    )
    cards, thresholds = Cards(run, held_out), _thresholds(run, evaluation.accuracy)
    learned = run.posts.train if run.held_out == "dev" else []
    return {
        "mark": MARK,
        "title": f"Report on {run.folder.resolve().name}",
        "held_out": run.held_out,
        "members": run.model.config.members,
        "evaluation": evaluation,
        "digits": decimals(evaluation.n),
        "dev_digits": decimals(run.metrics["dev"]["n"]) if "dev" in run.metrics else 0,
        **_judgement(run, held_out, evaluation),
        "steps": next_steps(_numbers(run, evaluation, cards, thresholds)),
        "metrics": [*_metrics(evaluation)],
        "thresholds": thresholds,
        "confusion": _confusion(evaluation),
        "most_confused": most_confused(evaluation),
        **_calibration(run, held_out),
        "curves": training_curves(run.history, _kept_epoch(run)),
        **_of_dev_posts(run, held_out),
        "slices": evaluate_slices(held_out, learned, run.model.class_names),
        "cards": cards,
        "of_best": interpretation.of_best(held_out),
        "of_worst": interpretation.of_worst(held_out),
        "of_doubtful": interpretation.of_doubtful(len(cards.doubtful), held_out),
        "doubtful_ids": [held_out.posts.posts[i].id for i in cards.doubtful],
        "run": run.metrics,
        "environment": run.environment,
        "network": run.config.model.network,
        "target": run.config.training.target,
    }


def _judgement(run: TrainedRun, held_out: HeldOut, evaluation: Evaluation) -> dict[str, Any]:
    """Return what the model is worth, why, and the table of baselines; none for an earlier run."""
    found = run.metrics.get("baselines")
    why = [against_linear(found)] if found else []
    if found and not is_better_than_majority(run.metrics):
        why.insert(0, tells_apart(held_out, len(evaluation.per_class)))
    confused = most_confused(evaluation)
    why += [found_classes(evaluation), f"Most often, {confused.sentence}." if confused else ""]
    content: dict[str, Any] = {
        "worth": worth(evaluation, found),
        "why": [one for one in why if one],
    }
    if not found:
        return content
    n = found["posts"]["held_out"]
    content["baselines"] = baseline_rows(found, run.evaluation, decimals(n))
    content["baseline_columns"] = COLUMNS
    if curve := found.get("learning_curve"):
        content["learning_curve"] = learning_curve(curve)
        content["of_learning_curve"] = interpretation.of_learning_curve(curve, n)
    return content


def _numbers(
    run: TrainedRun,
    evaluation: Evaluation,
    cards: Cards,
    thresholds: Mapping[str, Threshold | None],
) -> Numbers:
    learned = Counter(str(post.label) for post in run.posts.train)
    return Numbers(
        run.metrics,
        evaluation,
        learned,
        len(cards.doubtful),
        thresholds,
        is_linear=system(run.config.model.network).is_linear,
        target=run.config.training.target,
    )


def _metrics(evaluation: Evaluation) -> Iterator[tuple[str, str, str, str]]:
    """Yield title, value and interval of each metric, and which sentence says how it is made."""
    n = evaluation.n
    for name, title in metric_titles(evaluation).items():
        value, interval = getattr(evaluation, name), evaluation.intervals.get(name)
        how = next(how for word, how in HOW.items() if word in title)
        in_nats = name == "negative_log_likelihood"
        shown = f"{value:.2f}" if in_nats else number(value, n)
        yield title, shown, ends(interval, n) if interval else "", how


def _thresholds(run: TrainedRun, accuracy: float) -> dict[str, Threshold | None]:
    """Return each precision -> its threshold; None if these posts are too few to be sure of it."""
    found: dict[str, Threshold | None] = {}
    for precision in [one for one in PRECISIONS if one > accuracy][:SHOWN_PRECISIONS]:
        found[f"{precision:g}"] = None
        with suppress(MvcnError):
            found[f"{precision:g}"] = run.threshold(precision)
    return found


def _kept_epoch(run: TrainedRun) -> int | None:
    """Return the epoch that dev posts chose; None for an ensemble, which is trained to the end."""
    return run.metrics["epochs"]["best"] if run.held_out == "dev" else None


def _calibration(run: TrainedRun, held_out: HeldOut) -> dict[str, Any]:
    temperature, found = run.model.config.temperature, run.metrics.get("calibration")
    n = len(held_out.labels)
    return {
        "reliability": reliability(held_out.probabilities, held_out.labels),
        "of_calibration": interpretation.of_calibration(held_out),
        "of_temperature": interpretation.of_temperature(temperature, found, n) if found else "",
    }


def _of_dev_posts(run: TrainedRun, held_out: HeldOut) -> dict[str, Any]:
    """Return the map and the curves of abstaining; no map without dev posts."""
    if not run.has_dev:
        return {"map": "", **_abstaining(held_out.probabilities, held_out.is_right)}
    seen = list(observe(run.model, run.shown))
    space = space_of(seen, run.shown.posts, run.model.class_names)
    rows = np.stack([one.probabilities for one in seen])
    spread = [one.disagreement for one in seen if one.disagreement is not None]
    clusters = measure_clusters(space)
    return {
        "map": png_address(draw_maps({"dev posts": space})),
        "of_clusters": interpretation.of_clusters(clusters) if clusters else "",
        **_abstaining(rows, rows.argmax(1) == space.labels, spread),
    }


def _abstaining(
    probabilities: Float[np.ndarray, "batch classes"],
    is_right: Bool[np.ndarray, " batch"],
    disagreement: Sequence[float] = (),
) -> dict[str, Any]:
    """Return the curves of accuracy against coverage by each reason, and what they say."""
    certainties = {"low probability": probabilities.max(1)}
    if disagreement:
        certainties["high disagreement"] = -np.array(disagreement)
    found: dict[str, RiskCoverage] = {
        name: risk_coverage(one, is_right) for name, one in certainties.items()
    }
    areas = {name: curve.area for name, curve in found.items()}
    error = 1 - float(is_right.mean())
    return {
        "abstaining": abstaining(found),
        "of_abstaining": interpretation.of_abstaining(found["low probability"]),
        "of_areas": interpretation.of_areas(areas, error, len(is_right)),
    }


def _confusion(evaluation: Evaluation) -> list[tuple[str, list[tuple[int, float]]]]:
    """Return each class with the counts of its posts by prediction, and their shares."""
    return [
        (name, [(count, count / max(sum(row), 1)) for count in row])
        for name, row in zip(evaluation.per_class, evaluation.confusion_matrix, strict=True)
    ]


def _smaller(figure: bytes) -> str:
    """Return a PNG as the address of a JPEG, which has a fraction of its size."""
    with Image.open(BytesIO(figure)) as picture:
        return jpeg_address(picture.convert("RGB"))
