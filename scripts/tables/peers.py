"""The table of other tools on the same posts."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mvcn.evaluation.metrics import METRIC_TITLES
from scripts.results import spread
from scripts.tables.markdown import percent, percent_of, table

METRICS = ("accuracy", "f1_weighted", "expected_calibration_error")
COSTS: dict[str, Callable[[Mapping[str, Any]], float]] = {
    "fit, s": lambda one: one["fit"]["seconds"],
    "of processors": lambda one: one["fit"]["processor_seconds"],
    "memory, MB": lambda one: one["fit"]["peak_memory_mb"],
    "posts/s": lambda one: one["predict"]["posts_per_second"],
    "model, MB": lambda one: one["model_mb"],
}
"""Column -> what it takes from a measurement."""
SHORT_COSTS: dict[str, Callable[[Mapping[str, Any]], float]] = {
    "fit, min": lambda one: one["fit"]["seconds"] / 60,
    "posts/s": COSTS["posts/s"],
    "model, MB": COSTS["model, MB"],
}


def peers_table(content: Mapping[str, Any]) -> str:
    """Return scores and costs, a row for each tool and number of training posts."""
    measurements = content["measurements"]
    sizes = sorted({one["posts"] for one in measurements})
    tools = content["tools"]
    rows = [
        _row(tool, about, found)
        for size in sizes
        for tool, about in tools.items()
        if (found := [one for one in measurements if (one["tool"], one["posts"]) == (tool, size)])
    ]
    header = ["tool", "reads", "training posts", "draws"]
    header += [*(METRIC_TITLES[metric] for metric in METRICS), *COSTS, "installation, MB"]
    note = (
        "450 dev posts of MVSA-Single, mean ± standard deviation over draws of training posts "
        "(with all posts: over seeds), scores in percent."
    )
    return table(header, rows, note)


def peers_in_short(content: Mapping[str, Any]) -> str:
    """Return scores with few and with all posts, and costs of the latter, a row for each tool."""
    few, most = sorted({one["posts"] for one in content["measurements"]})
    rows = [
        [
            tool,
            about["reads"],
            *(_scores(_of(content, tool, size)) for size in (few, most)),
            *(
                _cost([cost(one) for one in _of(content, tool, most)])
                for cost in SHORT_COSTS.values()
            ),
        ]
        for tool, about in content["tools"].items()
    ]
    header = ["", "reads", f"{few:,} posts: accuracy / weighted F1, %", f"{most:,} posts"]
    return table([*header, *SHORT_COSTS], rows)


def _of(content: Mapping[str, Any], tool: str, posts: int) -> list[Mapping[str, Any]]:
    return [one for one in content["measurements"] if (one["tool"], one["posts"]) == (tool, posts)]


def _scores(found: Sequence[Mapping[str, Any]]) -> str:
    means = (spread([one[metric] for one in found])["mean"] for metric in METRICS[:2])
    return " / ".join(map(percent, means)) if found else ""


def _row(tool: str, about: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        tool,
        about["reads"],
        f"{found[0]['posts']:,}",
        str(len(found)),
        *(percent_of(spread([one[metric] for one in found])) for metric in METRICS),
        *(_cost([cost(one) for one in found]) for cost in COSTS.values()),
        f"{about['megabytes']:,}",
    ]


def _cost(values: Sequence[float]) -> str:
    """Return mean ± standard deviation, to whole numbers from 10 on; nothing of nothing."""
    if not values:
        return ""
    found = spread(values)
    digits = 0 if found["mean"] >= 10 else 1  # noqa: PLR2004
    error = f"{found['deviation']:,.{digits}f}"
    mean = f"{found['mean']:,.{digits}f}"
    return mean if float(error.replace(",", "")) == 0 else f"{mean} ± {error}"
