"""What the history of a training says of a loss that was added with a weight of 0.5."""

import csv

import pytest


def require_margin(run):
    """Require that each logged step has a part `margin`, and that the loss is made of it."""
    with (run / "history.csv").open(encoding="utf-8") as file:
        steps = [row for row in csv.DictReader(file) if row["margin"]]
    assert steps
    for step in steps:
        margin, cross_entropy = float(step["margin"]), float(step["cross_entropy"])
        assert margin > 0
        assert float(step["loss"]) == pytest.approx(cross_entropy + 0.5 * margin, abs=1e-5)
