"""CLMLF in the form of its authors' code."""

import torch

from mvcn.models.clmlf import Clmlf


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
