"""Networks in the form of their authors' code, against what that code computes."""

import pytest
import torch
from torch import nn

from mvcn.models.clmlf import Clmlf
from mvcn.models.mgnns import PublishedLabelAttention
from mvcn.models.mmsd import HierarchicalFusion
from mvcn.models.network import Tokens
from mvcn.models.registry import system


@pytest.fixture
def tokens():
    """Two posts, the first with a word and an attribute less."""
    torch.manual_seed(1)
    return Tokens(
        text=torch.randn(2, 3, 8),
        image=torch.randn(2, 4, 8),
        text_mask=torch.tensor([[True, True, False], [True] * 3]),
        image_mask=torch.ones(2, 4, dtype=torch.bool),
        word_ids=torch.ones(2, 3, dtype=torch.long),
        objects=torch.zeros(2, 0),
        object_names=torch.zeros(0, 0),
        attributes=torch.randn(2, 2, 8),
        attribute_mask=torch.tensor([[True, False], [True, True]]),
    )


def test_mgnns_weighs_sixty_numbers_of_each_head_for_each_class():
    torch.manual_seed(0)
    labels = PublishedLabelAttention(7, 3).double().eval()
    scores = torch.randn(2, 7, dtype=torch.float64)
    for row in range(2):
        key, value = labels.key(scores[row]), labels.value(scores[row])
        answers = []
        for label in labels.classes:
            query, collected = labels.query(label), []
            for start in range(0, 300, 60):
                head = slice(start, start + 60)
                weights = torch.exp(query[head] * key[head] / 60**0.5)
                collected.append(weights / weights.sum() * value[head])
            answers.append(labels.hidden(labels.collected(torch.cat(collected))))
        expected = labels.out(torch.cat(answers))
        torch.testing.assert_close(labels(scores)[row], expected, atol=1e-12, rtol=1e-12)


def clmlf(**options):
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "feedforward_size": 12, "num_heads": 2, "num_fusion_layers": 1}
    return Clmlf(8, 8, 3, **sizes, dropout=0.0, **options)


def test_clmlf_projects_views_through_gelu(tokens):
    network = clmlf(view_activation="gelu", augmentation=0.0).train()
    output = network(tokens)
    for project, view in zip(network.views, output.views, strict=True):
        first, _, last = project
        hidden = first(output.fused_feature)
        expected = last(hidden * (1 + torch.erf(hidden / 2**0.5)) / 2)
        torch.testing.assert_close(view, expected, atol=1e-6, rtol=1e-6)


def test_clmlf_drops_attention_weights_in_training_alone(tokens):
    plain, dropping = clmlf(), clmlf(attention_dropout=0.5)
    assert torch.equal(plain.eval()(tokens).logits, dropping.eval()(tokens).logits)
    assert torch.equal(plain.train()(tokens).logits, plain(tokens).logits)
    assert not torch.equal(dropping.train()(tokens).logits, dropping(tokens).logits)


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
