"""Draw what each loss gains in each regime: ``python -m scripts.studies.constraints.figure``."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from scripts import results
from scripts.studies.constraints.data import CLASSES, LEVELS, UNCHANGED
from scripts.tables.markdown import PERCENT
from scripts.tables.regimes import OURS, Entry, by_regime, mean_gain
from scripts.tables.regimes import UNCHANGED as AS_THEY_ARE

FIGURE = Path("docs") / "figures" / "regimes.png"
COLORS = {
    "label smoothing": "#8a8a8a",
    "center loss": "#c58b2a",
    "supervised contrastive": "#3b7dd8",
    OURS: "#c0392b",
}


def main() -> None:
    """Write the figure: a panel for each regime, mean gains with intervals, dots for data sets."""
    found = by_regime(results.read("regimes"))
    figure, panels = plt.subplots(
        1, len(LEVELS), figsize=(15, 4), sharey=True, layout="constrained"
    )
    for axes, (regime, levels) in zip(panels, LEVELS.items(), strict=True):
        _draw(axes, regime, [_entries(found, regime, level) for level in levels])
        axes.set_xticks(range(len(levels)), [f"{level:g}" for level in levels])
    panels[0].set_ylabel("macro F1 more than by cross-entropy, points")
    panels[0].legend(frameon=False, fontsize=8)
    figure.savefig(FIGURE, dpi=110)


def _entries(
    found: Mapping[tuple[str, str], Sequence[Entry]], regime: str, level: float
) -> Sequence[Entry]:
    place = (AS_THEY_ARE, "-") if UNCHANGED.get(regime) == level else (regime, f"{level:g}")
    return found.get(place, [])


def _draw(axes: Axes, regime: str, levels: Sequence[Sequence[Entry]]) -> None:
    axes.axhline(0, color="black", linewidth=0.8)
    for number, (loss, color) in enumerate(COLORS.items()):
        places = [place for place, entries in enumerate(levels) if entries]
        gains = [[PERCENT * v for v in mean_gain(levels[place], loss)] for place in places]
        means = [mean for mean, _, _ in gains]
        errors = [[m - low for m, low, _ in gains], [high - m for m, _, high in gains]]
        shifted = [place + 0.12 * (number - 1.5) for place in places]
        axes.errorbar(shifted, means, errors, color=color, marker="o", ms=4, capsize=2, label=loss)
    for place, entries in enumerate(levels):
        dots = [PERCENT * entry["losses"][OURS]["gain"] for entry in entries]
        axes.scatter([place + 0.3] * len(dots), dots, s=6, color=COLORS[OURS], alpha=0.4)
    axes.set_xlabel(f"number of {regime}" if regime == CLASSES else regime)
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
