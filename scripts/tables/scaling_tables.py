"""The tables of results/scaling.json, for `scripts/tables.py`."""

from collections.abc import Callable, Mapping
from typing import Any

MEGABYTE = 1e6
GIGABYTE = 1e9

Rows = tuple[tuple[str, ...], list[list[str]]]


def step_rows(content: Mapping[str, Any]) -> Rows:
    """Return header and rows: time and memory of the constraint in a step."""
    rows = [
        [
            f"{step['queue']:,}",
            f"{step['classes']:,}",
            f"{step['dim']:,}",
            f"{step['microseconds']:,.0f}" if "microseconds" in step else "computed alone",
            _megabytes(step["queue_bytes"]),
            _megabytes(step["distances_bytes"]),
        ]
        for step in content["steps"]
    ]
    header = ("queue N", "classes K", "width d", "microseconds", "MB of queue", "MB in passing")
    return header, rows


def device_rows(content: Mapping[str, Any]) -> Rows:
    """Return header and rows: what each device receives in a step."""
    rows = [
        [
            f"{one['devices']:,}",
            f"{one['devices'] * content['batch']:,}",
            _megabytes(one["queue"]),
            _megabytes(one["gradients"]),
        ]
        for one in content["devices"]
    ]
    return ("devices", "posts a step", "MB for the queue", "MB for the gradients"), rows


def post_rows(content: Mapping[str, Any]) -> Rows:
    """Return header and rows: what grows with the posts of a training."""
    rows = [
        [
            f"{one['posts']:,}",
            f"{one['order_seconds']:.2f}",
            f"{one['posts'] * content['image_feature_bytes'] / GIGABYTE:,.1f}",
        ]
        for one in content["posts"]
    ]
    return ("training posts", "seconds to order an epoch", "GB of image features on disk"), rows


def _megabytes(count: int) -> str:
    return f"{count / MEGABYTE:,.3g}" if count < MEGABYTE else f"{count / MEGABYTE:,.1f}"


SCALING_ROWS: dict[str, Callable[[Mapping[str, Any]], Rows]] = {
    "scaling-steps": step_rows,
    "scaling-devices": device_rows,
    "scaling-posts": post_rows,
}
