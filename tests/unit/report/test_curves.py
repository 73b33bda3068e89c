"""Curves of the report: one line for each loss term and member."""

import re

import numpy as np

from mvcn.evaluation.selective_classification import RiskCoverage
from mvcn.report.curves import abstaining, training_curves

ROW = {"loss": "1", "cross_entropy": "0.9", "learning_rate": "1", "eval_loss": "", "member": ""}


def rows(members, epochs=3):
    return [
        ROW | {"epoch": str(epoch), "loss": str(1 / epoch), "member": member}
        for member in members
        for epoch in range(1, epochs + 1)
    ]


def lines(svg):
    return len(re.findall(r'<g id="line2d_\d+">\s*<path', svg))


def test_each_member_has_a_line_for_each_term():
    (one,), (many,) = training_curves(rows([""])).values(), training_curves(rows("123")).values()
    assert lines(many) - lines(one) == 2 * 2
    for svg in (one, many):
        assert svg.count(">cross entropy<") == 1
        assert "member" not in svg


def test_dev_scores_are_drawn_where_there_are_any():
    scored = [row | {"eval_loss": "1", "eval_accuracy": "0.5"} for row in rows([""])]
    assert list(training_curves(rows([""]))) == ["Losses over the epochs"]
    losses, scores = training_curves(scored).values()
    assert ">dev loss<" in losses
    assert ">accuracy<" in scores


def test_the_epoch_that_was_kept_is_marked():
    scored = [row | {"eval_loss": "1", "eval_accuracy": "0.5"} for row in rows([""])]
    for plain, marked in zip(
        training_curves(scored).values(), training_curves(scored, kept=2).values(), strict=True
    ):
        assert (plain.count(", kept<"), marked.count(">epoch 2, kept<")) == (0, 1)
        assert lines(marked) == lines(plain) + 2  # one of them in the legend


def test_a_curve_is_named_by_its_reason():
    curve = RiskCoverage(np.array([0.5, 1]), np.array([1, 0.5]))
    assert ">low probability<" in abstaining({"low probability": curve})
