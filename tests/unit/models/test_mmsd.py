"""MMSD in the form of its authors' code."""

import pytest
from torch import nn

from mvcn.models.mmsd import HierarchicalFusion
from mvcn.models.registry import system


def test_mmsd_scores_each_modality_by_512_hidden_units_and_a_bias():
    network = HierarchicalFusion(8, 8, 2, faithful=True)
    for score, width in zip(network.score, network.encode.sizes, strict=True):
        hidden, between, last = score
        assert (hidden.in_features, hidden.out_features) == (width, 512)
        assert isinstance(between, nn.Tanh)
        assert last.bias is not None


def test_mmsd_has_half_the_squares_of_its_weights_as_a_penalty(tokens):
    network = HierarchicalFusion(8, 8, 2, faithful=True)
    expected = sum(
        weight.detach().double().norm().item() ** 2 / 2 for weight in network.parameters()
    )
    assert network.train()(tokens).penalty.item() == pytest.approx(expected, rel=1e-5)
    assert network.eval()(tokens).penalty is None
    assert HierarchicalFusion(8, 8, 2, faithful=False).train()(tokens).penalty is None
    assert "penalty_weight" in system("mmsd").objective_weights
