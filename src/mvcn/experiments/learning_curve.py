"""Learning curves: the scores of variants by the number of training posts, evaluated alike."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from mvcn.errors import ConfigError
from mvcn.evaluation.metrics import METRIC_TITLES, METRICS
from mvcn.experiments.compare import Results, Variant
from mvcn.files import atomic_replace
from mvcn.outputs import require_new_file, require_own_file

FORMATS = (".png", ".svg")
MARK, HEAD = b"atplotlib", 2000
"""What is in the first bytes of each figure."""
SHOWN = ("accuracy", "f1_weighted")
PERCENT = 100
ALWAYS = "most frequent class"
"""Name of a model that always predicts it."""


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """Results on the same posts of variants that were trained on different numbers of posts."""

    points: Sequence[Results]
    """In the order of their training posts."""

    @property
    def train_posts(self) -> list[int]:
        """Number of training posts of each point."""
        return [point.train_posts for point in self.points if point.train_posts is not None]

    @property
    def names(self) -> list[str]:
        """Names of the variants that are at all points."""
        names = [[variant.name for variant in point.variants] for point in self.points]
        return [name for name in names[0] if all(name in others for others in names)]

    def variant(self, point: int, name: str) -> Variant:
        """Return a variant at one of the points."""
        return next(one for one in self.points[point].variants if one.name == name)

    def most_frequent(self, metric: str) -> float:
        """Return a metric of a model that always predicts the most frequent class of the posts."""
        first = self.points[0].variants[0]
        counts = np.bincount(first.labels, minlength=first.num_classes).astype(float)
        matrix = np.zeros((1, first.num_classes, first.num_classes))
        matrix[0, :, counts.argmax()] = counts
        return float(METRICS[metric](matrix)[0])


def learning_curves(results: Sequence[Results]) -> list[LearningCurve]:
    """Return the curves among the results of several datasets.

    Datasets belong to one curve if their variants were evaluated on the same posts and trained on
    different numbers of posts.
    """
    groups: dict[str, dict[int, Results]] = defaultdict(dict)
    for one in results:
        if one.train_posts is not None:
            groups[one.posts_digest].setdefault(one.train_posts, one)
    curves = (LearningCurve([group[n] for n in sorted(group)]) for group in groups.values())
    return [curve for curve in curves if len(curve.points) > 1 and curve.names]


def require_figure(path: Path, *, overwrite: bool) -> None:
    """Raise an MvcnError unless a figure may be written to the file."""
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(f"The figure {path} must end in {' or '.join(FORMATS)}: rename it.")
    require_own_file(path, "figure by mvcn compare", is_own=_is_figure(path))
    require_new_file(path, overwrite=overwrite)


def write_curve(results: Sequence[Results], path: Path) -> None:
    """Draw accuracy and weighted F1 of each variant, mean ± standard deviation over draws.

    Args:
        results: As `mvcn.experiments.compare.compare` returns them, with one learning curve.
        path: File with one of the endings `FORMATS`.

    Raises:
        ConfigError: There is no learning curve, or there are several.
    """
    curves = learning_curves(results)
    if len(curves) != 1:
        raise ConfigError(
            f"The results have {len(curves) or 'no'} learning curves, but a figure shows one: use "
            "the folder of one experiment whose datasets differ in data.limit."
        )
    figure = Figure(figsize=(9, 3.6), layout=ConstrainedLayoutEngine())
    for axis, metric in zip(figure.subplots(1, len(SHOWN)), SHOWN, strict=True):
        _draw(axis, curves[0], metric)
    with atomic_replace(path) as partial:
        figure.savefig(partial, format=path.suffix[1:].lower())


def _is_figure(path: Path) -> bool:
    return path.is_file() and MARK in path.read_bytes()[:HEAD]


def _draw(axis: Axes, curve: LearningCurve, metric: str) -> None:
    posts = curve.train_posts
    for name in curve.names:
        spreads = [curve.variant(i, name).spread(metric) for i in range(len(posts))]
        means = [PERCENT * spread.mean for spread in spreads]
        deviations = [PERCENT * (spread.deviation or 0.0) for spread in spreads]
        axis.errorbar(posts, means, deviations, marker="o", capsize=3, label=name)
    axis.axhline(PERCENT * curve.most_frequent(metric), color="gray", ls="--", label=ALWAYS)
    axis.set(xscale="log", xlabel="training posts", ylabel=f"{METRIC_TITLES[metric]}, %")
    axis.set_xticks(posts, [str(count) for count in posts])
    axis.minorticks_off()
    axis.legend()
