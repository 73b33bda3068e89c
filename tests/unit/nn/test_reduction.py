"""The reduction unit against a loop over real tokens."""

import math

import torch
from torch.nn import functional as F

from mvcn.nn.reduction import ReductionUnit

LENGTHS = (5, 2, 1)
MASK = torch.arange(5) < torch.tensor(LENGTHS).unsqueeze(1)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def build(dropout=0.1):
    unit = ReductionUnit(8, dropout).double().eval()
    with torch.no_grad():
        for seed, parameter in enumerate(unit.parameters()):
            parameter.copy_(normal(*parameter.shape, seed=seed))
    return unit


def test_agrees_with_a_loop_over_real_tokens():
    unit, tokens = build(), normal(3, 5, 8)
    actual = unit(tokens, MASK)
    for index, length in enumerate(LENGTHS):
        real = list(tokens[index, :length])
        scores = [unit.score[3](F.gelu(unit.score[0](token))).item() for token in real]
        total = sum(map(math.exp, scores))
        pooled = sum(math.exp(s) / total * token for s, token in zip(scores, real, strict=True))
        expected = unit.mix[3](F.gelu(unit.mix[0](pooled)))
        torch.testing.assert_close(actual[index], expected, atol=1e-12, rtol=1e-12)


def test_weights_sum_to_one_and_are_zero_on_padding():
    weights = build().weights(normal(3, 5, 8), MASK)
    assert (weights[~MASK] == 0).all()
    assert (weights[MASK] > 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(3).double(), atol=1e-12, rtol=0)


def test_padding_and_batch_mates_change_nothing():
    unit, tokens = build(), normal(3, 5, 8)
    together = unit(torch.where(MASK.unsqueeze(-1), tokens, 100), MASK)
    for index, length in enumerate(LENGTHS):
        alone = unit(tokens[index : index + 1, :length])
        torch.testing.assert_close(together[index], alone[0], atol=1e-12, rtol=1e-12)


def test_no_tokens_pool_to_zeros():
    unit, tokens = build(), normal(2, 5, 8).requires_grad_()
    fused = unit(tokens, torch.zeros(2, 5, dtype=torch.bool))
    expected = unit.mix[3](F.gelu(unit.mix[0].bias)).expand(2, 8)
    torch.testing.assert_close(fused, expected, atol=1e-12, rtol=0)
    fused.sum().backward()
    assert (tokens.grad == 0).all()


def test_the_order_of_tokens_does_not_matter():
    unit, tokens = build(), normal(2, 5, 8)
    torch.testing.assert_close(unit(tokens), unit(tokens.flip(1)), atol=1e-12, rtol=1e-12)


def test_runs_under_autocast():
    unit, tokens = build().float(), normal(3, 5, 8).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fused = unit(tokens, MASK)
    expected = unit(tokens, MASK)
    assert (fused.float() - expected).norm() / expected.norm() < 0.05
