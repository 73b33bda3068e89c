"""Tables of explanations and clusters, with the constraint and without."""

from collections.abc import Mapping
from typing import Any

from scripts.tables.markdown import percent, table


def _faithfulness(content: Mapping[str, Any]) -> str:
    """The gap between insertion and deletion curves, by explanation."""
    rows = [
        [name, method, f"{curve['gap']:+.3f}", "{:+.3f} to {:+.3f}".format(*curve["interval"])]
        for name, run in content["runs"].items()
        for method, curve in run["faithfulness"].items()
        if method != "posts"
    ]
    count = next(iter(content["runs"].values()))["faithfulness"]["posts"]
    header = ("model", "explanation", "insertion less deletion", "95 % over posts")
    note = f"{count} dev posts of {content['data']}, one training each; larger is more faithful."
    return table(header, rows, note)


def _clusters(content: Mapping[str, Any]) -> str:
    """How far the classes are apart in the fused features."""
    rows = [
        [
            name,
            percent(run["dev_accuracy"]),
            f"{run['clusters']['silhouette']:.3f}",
            f"{run['clusters']['within_between']:.2f}",
            percent(run["zeros_in_attention"]),
        ]
        for name, run in content["runs"].items()
    ]
    header = ("model", "accuracy", "silhouette", "within / between", "zeros in the attention, %")
    return table(header, rows, f"{content['data']}, dev posts, one training each.")


TABLES = {"clusters": _clusters, "faithfulness": _faithfulness}
FILES = dict.fromkeys(TABLES, "explanations")
