"""Tables of explanations and clusters, with the constraint and without, over seeds."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from scripts.results import interval
from scripts.tables.markdown import PERCENT, table

COLUMNS: Mapping[str, tuple[str, Callable[[Mapping[str, Any]], float]]] = {
    "accuracy, %": (".1f", lambda run: PERCENT * run["dev_accuracy"]),
    "silhouette": (".3f", lambda run: run["clusters"]["silhouette"]),
    "within / between": (".2f", lambda run: run["clusters"]["within_between"]),
    "zeros in the attention, %": (".1f", lambda run: PERCENT * run["zeros_in_attention"]),
}
"""Title -> how its numbers are written, and where a run has them."""


def _clusters(content: Mapping[str, Any]) -> str:
    """How far the classes are apart in the fused features, and what the constraint changes."""
    measured = {
        name: [[value(run) for run in runs] for _, value in COLUMNS.values()]
        for name, runs in content["runs"].items()
    }
    changes = [
        [one - other for one, other in zip(*columns, strict=True)]
        for columns in zip(*measured.values(), strict=True)
    ]
    forms = [form for form, _ in COLUMNS.values()]
    rows = [[name, *map(_over_seeds, columns, forms)] for name, columns in measured.items()]
    rows.append(["difference", *map(_over_seeds, changes, (f"+{form}" for form in forms))])
    note = f"{content['data']}, dev posts; mean and 95 % interval over {len(changes[0])} seeds."
    return table(("model", *COLUMNS), rows, note)


def _faithfulness(content: Mapping[str, Any]) -> str:
    """The gap between insertion and deletion curves, by explanation."""
    found = {
        (name, method): [run["faithfulness"][method]["gap"] for run in runs]
        for name, runs in content["runs"].items()
        for method in runs[0]["faithfulness"]
        if method != "posts"
    }
    rows = [[*names, _over_seeds(gaps, "+.3f")] for names, gaps in found.items()]
    first, *_ = content["runs"].values()
    note = (
        f"{first[0]['faithfulness']['posts']} dev posts of {content['data']}; mean and 95 % "
        f"interval over {len(first)} seeds; larger is more faithful."
    )
    return table(("model", "explanation", "insertion less deletion"), rows, note)


def _over_seeds(values: Sequence[float], form: str) -> str:
    mean, low, high = (f"{value:{form}}" for value in interval(values))
    return f"{mean} ({low} to {high})"


TABLES = {"clusters": _clusters, "faithfulness": _faithfulness}
FILES = dict.fromkeys(TABLES, "explanations")
