"""Tables of the folders that `mvcn experiment` writes, and of published results."""

from collections.abc import Mapping, Sequence
from functools import cache, partial
from typing import Any

from mvcn.evaluation.metrics import METRIC_TITLES, METRICS
from mvcn.experiments.compare import Results, compare
from mvcn.experiments.comparison_tables import (
    SECONDS,
    curve_differences_table,
    curve_table,
    differences_table,
    evaluated_on,
    scores_table,
    sentences,
)
from mvcn.experiments.grid import read_cells
from mvcn.experiments.learning_curve import learning_curves
from mvcn.experiments.published import published_results
from mvcn.models.registry import MODELS
from scripts import results
from scripts.results import RESULTS
from scripts.tables.markdown import percent, table

BINARY = 2
MILLION = 1e6
SECONDS_PER_HOUR = 3600
MVSA_ROWS = (
    *("text-cnn", "bilstm", "bert", "resnet", "vit", "multisentinet", "hsan", "co-mn-hop6"),
    *("mgnns", "clmlf", "clmlf-faithful", "concat2", "concat3", "mmsd", "dr-net"),
    *("logreg", "late-fusion", "mvcn", "default", "single", "best"),
)
HFM_ROWS = ("text-cnn", "bilstm", "bert", "concat3", "mmsd", "default", "best", "whitespace")


def experiment(name: str) -> str:
    """Return scores, differences to the first variant, and what they mean, of results/NAME."""
    return _scores_and_differences(_compared(RESULTS / name))


@cache
def _compared(folder: Any) -> Results:
    (found,) = compare(read_cells(folder))
    return found


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


def _systems(data: str, folders: Sequence[str], models: Sequence[str]) -> str:
    """Return each system's scores on one dataset, its size and speed, and what was published."""
    cells = [
        cell
        for folder in folders
        for cell in read_cells(RESULTS / folder)
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
            f"{variants[name].seconds.mean:.0f}",
            *_size_and_speed(speed.get(name.removesuffix("-faithful"))),
            *_published(name, data),
        ]
        for name in models
        if name in variants
    ]
    header = ["model", "seeds", *(METRIC_TITLES[metric] for metric in metrics), SECONDS]
    header += ["parameters, M", "posts/s", "published accuracy / F1", "which F1, split"]
    hours = sum(cell.training_seconds for cell in cells) / SECONDS_PER_HOUR
    note = (
        f"{data}, dev split, {found.num_posts} posts; mean ± standard deviation over seeds, "
        f"in %. The {len(cells)} trainings took {hours:.1f} core-hours."
    )
    return table(header, lines, note)


def _percent(spread: Any) -> str:
    return percent(spread.mean, spread.deviation)


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
    "learning-curve": _learning_curve,
    "systems": partial(_systems, "mvsa-single", ("published-table", "best"), MVSA_ROWS),
    "systems-hfm": partial(_systems, "hfm", ("published-hfm",), HFM_ROWS),
}
"""Tables made of several experiments."""
