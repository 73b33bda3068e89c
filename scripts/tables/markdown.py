"""Markdown tables and the numbers in their cells."""

import statistics
from collections.abc import Mapping, Sequence

PERCENT = 100
TWO_METRICS = ("accuracy", "f1_weighted")


def table(header: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> str:
    """Return a table as Markdown, with a note below it."""
    lines = [header, ["---"] * len(header), *rows]
    below = f"\n{note}\n" if note else ""
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + below


def percent(mean: float, deviation: float | None = None) -> str:
    """Return a mean, and its deviation where there is one, in percent."""
    error = "" if deviation is None else f" ± {PERCENT * deviation:.1f}"
    return f"{PERCENT * mean:.1f}{error}"


def percent_of(spread: Mapping[str, float]) -> str:
    """Return the mean and deviation that `scripts.results.spread` has computed, in percent."""
    return percent(spread["mean"], spread["deviation"])


def difference(scores: Sequence[float], reference: Sequence[float]) -> str:
    """Return the mean of folds in percent, and its difference to the reference's."""
    mean, other = statistics.fmean(scores), statistics.fmean(reference)
    return f"{percent(mean)} ({PERCENT * (mean - other):+.1f})"


def difference_with_error(scores: Sequence[float], reference: Sequence[float]) -> str:
    """Return the mean of folds in percent, and its difference with a standard error over folds."""
    differences = [PERCENT * (a - b) for a, b in zip(scores, reference, strict=True)]
    mean = percent(statistics.fmean(scores))
    if not any(differences):
        return mean
    error = statistics.stdev(differences) / len(differences) ** 0.5
    return f"{mean} ({statistics.fmean(differences):+.1f} ± {error:.1f})"
