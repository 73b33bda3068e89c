"""The table of tasks unlike MVSA."""

from collections.abc import Mapping, Sequence
from typing import Any

from mvcn.errors import count_of
from scripts.studies.tasks import OURS
from scripts.tables.markdown import PERCENT, percent, table


def tasks_table(content: Mapping[str, Any]) -> str:
    """Return the scores of `mvcn train` and of each linear model, task by task."""
    tasks = content["tasks"].values()
    models = [*dict.fromkeys(name for task in tasks for name in task["summary"] if name != OURS)]
    header = [
        "task",
        "classes",
        "train posts",
        f"`{OURS}`",
        *models,
        "gain over the best linear model",
    ]
    draws = max(len(task["draws"]) for task in tasks)
    note = (
        "Accuracy / macro F1 on fresh posts of the same kind, in percent, mean over "
        f"{count_of(draws, 'draw')} of posts. Linear models of scikit-learn, on TF-IDF "
        "of words and of characters, and on mean tokens of the packaged encoders. Last: "
        f"accuracy of `{OURS}` less that of the best linear model."
    )
    return table(header, [_row(task, models) for task in tasks], note)


def _row(task: Mapping[str, Any], models: Sequence[str]) -> list[str]:
    found = task["summary"]
    ours = found[OURS]
    best = max(found[name]["accuracy"]["mean"] for name in models if name in found)
    difference = PERCENT * (ours["accuracy"]["mean"] - best)
    return [
        task["about"],
        str(task["classes"]),
        f"{task['posts']['train']:,}",
        *(_scores(found.get(name)) for name in (OURS, *models)),
        f"{difference:+.1f}",
    ]


def _scores(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    return " / ".join(percent(found[metric]["mean"]) for metric in ("accuracy", "f1_macro"))
