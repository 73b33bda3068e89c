"""Tables of the folders that `mvcn experiment` writes, and of published results."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np

from mvcn.evaluation.metrics import METRIC_TITLES, METRICS
from mvcn.evaluation.significance import Difference
from mvcn.experiments.compare import Results, Variant, compare
from mvcn.experiments.comparison_tables import (
    SECONDS,
    curve_differences_table,
    curve_table,
    differences_table,
    evaluated_on,
    scores_table,
    sentences,
)
from mvcn.experiments.learning_curve import learning_curves
from mvcn.experiments.published import published_results
from mvcn.experiments.results import CellResult, read_cells
from mvcn.models.registry import MODELS
from scripts import results
from scripts.results import RESULTS
from scripts.tables.markdown import TWO_METRICS, percent, table

BINARY = 2
MILLION = 1e6
SECONDS_PER_MINUTE = 60
DEFAULT, LINEAR = "default", "logreg"
MIXTURES = (
    ("default", "equal-fusion"),
    ("default", "logreg"),
    ("default", "equal-fusion", "best"),
)
MVSA_ROWS = (
    *("text-cnn", "bilstm", "bert", "resnet", "vit", "multisentinet", "hsan", "co-mn-hop6"),
    *("mgnns", "clmlf", "clmlf-faithful", "concat2", "concat3", "mmsd", "dr-net"),
    *("logreg", "late-fusion", "mvcn"),
)
HFM_ROWS = ("text-cnn", "bilstm", "bert", "concat3", "mmsd", "default", "best", "whitespace")


def experiment(name: str, baseline: str | None = None) -> str:
    """Return scores, differences to a variant, by default the first, and what they mean."""
    return _scores_and_differences(_compared(name, baseline))


@cache
def _compared(name: str, baseline: str | None) -> Results:
    (found,) = compare(read_cells(RESULTS / name), baseline)
    return found


def _gain(difference: Difference) -> str:
    mean, low, high = (100 * one for one in (difference.mean, *difference.interval))
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"


def _minutes(variant: Variant, trainings: int) -> str:
    """Return the minutes of one training on one core."""
    seconds = variant.seconds
    return "-" if seconds is None else f"{seconds.mean / trainings / SECONDS_PER_MINUTE:.0f}"


def _recipes() -> str:
    """Return the scores of each recipe by cross-validation, and what it gains on linear models."""
    found = _compared("best-folds", LINEAR)
    gains = {one.variant: _gain(one.difference) for one in found.comparisons}
    rows = [
        [
            f"`{one.name}`",
            *(percent(one.spread(metric).mean) for metric in TWO_METRICS),
            gains.get(one.name, "-"),
            _minutes(one, found.num_folds or 1),
        ]
        for one in sorted(found.variants, key=lambda one: one.spread("accuracy").mean)
    ]
    header = ["recipe", *(METRIC_TITLES[metric] for metric in TWO_METRICS)]
    header += [f"weighted F1 above `{LINEAR}`", "minutes of one training on one core"]
    note = (
        f"{found.num_folds}-fold cross-validation over {found.num_posts:,} train and dev posts, "
        "near-duplicates in one fold, one seed; in percent, gains with 95 % intervals over posts."
    )
    return table(header, rows, note)


def _mixtures() -> str:
    """Return what the mean of the probabilities of several recipes gains on `default`."""
    by_recipe: dict[str, list[CellResult]] = {}
    for cell in read_cells(RESULTS / "best-folds"):
        by_recipe.setdefault(cell.variant, []).append(cell)
    mixed = [cell for names in MIXTURES for cell in _mix([by_recipe[name] for name in names])]
    (found,) = compare([*by_recipe[DEFAULT], *mixed], DEFAULT)
    scores = {
        one.name: [percent(one.spread(m).mean) for m in TWO_METRICS] for one in found.variants
    }
    rows = [
        [one.variant, *scores[one.variant], _gain(one.accuracy), _gain(one.difference)]
        for one in found.comparisons
    ]
    titles = [METRIC_TITLES[metric] for metric in TWO_METRICS]
    return table(["mean of", *titles, *(f"{one} above `{DEFAULT}`" for one in titles)], rows)


def _mix(recipes: Sequence[Sequence[CellResult]]) -> Iterator[CellResult]:
    """Yield each fold with the mean of the recipes' probabilities."""
    name = ", ".join(f"`{cells[0].variant}`" for cells in recipes)
    for folds in zip(*recipes, strict=True):
        mean = np.mean([one.probabilities for one in folds], axis=0)
        yield replace(folds[0], variant=name, probabilities=mean, predicted=mean.argmax(1))


def _scores_and_differences(found: Results) -> str:
    tables = [scores_table(found), differences_table(found)]
    blocks = [
        f"{found.data}, {evaluated_on(found)}, {found.num_posts} posts; mean ± standard "
        "deviation over seeds, in %.",
        *(table(one.header, one.rows) for one in tables if one.rows),
        "\n".join(f"- {sentence}" for sentence in sentences(found)),
    ]
    return "\n".join([*(f"{block.rstrip()}\n" for block in blocks if block)])


def _learning_curve() -> str:
    """Return the scores by the number of training posts, and the differences to the script."""
    (curve,) = learning_curves(compare(read_cells(RESULTS / "learning-curve"), "linear script"))
    scores, differences = curve_table(curve), curve_differences_table(curve)
    note = (
        f"Accuracy / weighted F1 on {curve.points[0].num_posts} dev posts of mvsa-single, mean ± "
        "standard deviation over three draws of training posts (with all posts: three seeds), in "
        "percent. `default` also learns from MVSA's separate labels of text and image, the linear "
        "models do not. "
        "The linear script is a logistic regression of scikit-learn on the mean tokens of the "
        "packaged encoders, with a cross-validated penalty."
    )
    below = "Differences to the linear script in points, with 95 % intervals over posts and draws."
    return "\n".join(
        (
            table(scores.header, scores.rows, note),
            table(differences.header, differences.rows, below),
        )
    )


def _systems(data: str, experiment: str, models: Sequence[str]) -> str:
    """Return each system's scores on one dataset, its size and speed, and what was published."""
    cells = [
        cell
        for cell in read_cells(RESULTS / experiment)
        if cell.data == data and cell.fold is None and cell.variant in models
    ]
    (found,) = compare(cells)
    variants = {variant.name: variant for variant in found.variants}
    speed = results.read("model-speed")["models"]
    is_binary = len(cells[0].class_names) == BINARY
    metrics = [name for name in METRICS if is_binary or name != "f1_binary"]
    lines = [
        [
            name,
            str(len(variants[name].seeds)),
            *(_percent(variants[name].spread(metric)) for metric in metrics),
            _seconds(variants[name]),
            *_size_and_speed(speed.get(name.removesuffix("-faithful"))),
            *_published(name, data),
        ]
        for name in models
        if name in variants
    ]
    header = ["model", "seeds", *(METRIC_TITLES[metric] for metric in metrics), SECONDS]
    header += ["parameters, M", "posts/s", "published accuracy / F1", "which F1, split"]
    note = (
        f"{data}, dev split, {found.num_posts} posts; mean ± standard deviation over seeds, in %."
    )
    return table(header, lines, note)


def _percent(spread: Any) -> str:
    return percent(spread.mean, spread.deviation)


def _seconds(variant: Variant) -> str:
    return "-" if variant.seconds is None else f"{variant.seconds.mean:.0f}"


def _size_and_speed(about: Mapping[str, Any] | None) -> list[str]:
    if about is None:
        return ["-", "-"]
    return [f"{about['parameters'] / MILLION:.1f}", f"{about['posts_per_second']:.0f}"]


def _published(name: str, data: str) -> list[str]:
    about = MODELS.get(name.removesuffix("-faithful"))
    found = published_results()[data].get(about.published or "") if about else None
    if found is None:
        return ["-", "-"]
    return [f"{found['accuracy']:.2f} / {found['f1']:.2f}", f"{found['which']}, {found['split']}"]


TABLES = {
    "recipes": _recipes,
    "mixtures": _mixtures,
    "best-folds": partial(experiment, "best-folds", "default"),
    "learning-curve": _learning_curve,
    "systems": partial(_systems, "mvsa-single", "published-table", MVSA_ROWS),
    "systems-hfm": partial(_systems, "hfm", "published-hfm", HFM_ROWS),
}
"""Tables made of several experiments."""
