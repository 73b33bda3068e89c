"""What the demonstration says of its posts together, by arithmetic."""

import math

import pytest
import torch

from mvcn.experiments.demo import mean_over_posts, summarize
from mvcn.explain.saliency import measure_attention


def test_a_spread_is_mean_deviation_and_interval():
    found = mean_over_posts([0.1, 0.2, 0.6])
    # Mean 0.3; squares 0.04 + 0.01 + 0.09 = 0.14 over 2.
    deviation = math.sqrt(0.07)
    assert found["mean"] == pytest.approx(0.3)
    assert found["deviation"] == pytest.approx(deviation)
    margin = 1.96 * deviation / math.sqrt(3)
    assert found["interval"] == pytest.approx((0.3 - margin, 0.3 + margin))


def test_a_summary_counts_hits_over_posts():
    region = torch.tensor([1.0, 0.0])
    rows = ([1.0, 0.0], [0.25, 0.75], [0.0, 1.0], [0.75, 0.25])
    measures = [measure_attention(torch.tensor([[row]]), region) for row in rows]
    summary = summarize(measures)
    assert summary["hit_rate"] == 2 / 4
    assert summary["mass"]["mean"] == pytest.approx((1 + 0.25 + 0 + 0.75) / 4)
    assert summary["zeros"] == pytest.approx((0.5 + 0 + 0.5 + 0) / 4)
    assert summary["posts"] == 4
