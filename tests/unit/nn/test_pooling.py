"""Pooling of tokens: laws, and each formula written out for one post."""

import math

import pytest
import torch
from torch.nn import functional as F

from mvcn.nn.pooling import (
    ContextAttention,
    GuidedAttention,
    ReductionUnit,
    masked_mean,
    weighted_sum,
)

MASK = torch.tensor([[True, True, False], [False, False, False], [True, True, True]])


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def pools():
    torch.manual_seed(0)
    context, guided, guide = ContextAttention(4), GuidedAttention(4, 5, 6), draw(3, 5, seed=2)
    return {
        "mean": masked_mean,
        "weighted": lambda tokens, mask: weighted_sum(tokens, tokens[..., 0], mask),
        "context": context,
        "guided": lambda tokens, mask: guided(tokens, guide, mask),
    }


@pytest.mark.parametrize("name", pools())
def test_only_real_tokens_count(name):
    pool, tokens = pools()[name], draw(3, 3, 4)
    before = pool(tokens, MASK)
    assert torch.equal(before[1], torch.zeros(4))
    for filler in (1e6, torch.inf, torch.nan):
        changed = torch.where(MASK.unsqueeze(-1), tokens, filler)
        assert torch.equal(pool(changed, MASK), before), filler


@pytest.mark.parametrize("name", pools())
def test_the_result_lies_between_the_tokens(name):
    tokens = draw(3, 3, 4)
    pooled = pools()[name](tokens, MASK)
    assert (pooled[2] <= tokens[2].amax(0) + 1e-6).all()
    assert (pooled[2] >= tokens[2].amin(0) - 1e-6).all()


def test_the_mean_is_that_of_the_real_tokens():
    tokens = draw(3, 3, 4)
    torch.testing.assert_close(masked_mean(tokens, MASK)[0], tokens[0, :2].mean(0))


def test_a_mean_of_half_precision_does_not_overflow():
    tokens, mask = torch.full((1, 3000, 2), 400.0).half(), torch.ones(1, 3000, dtype=torch.bool)
    assert masked_mean(tokens, mask).tolist() == [[400, 400]]
    assert masked_mean(tokens, mask).dtype == torch.float16


def test_equal_scores_give_the_mean():
    tokens = draw(3, 3, 4)
    found = weighted_sum(tokens, torch.full((3, 3), 7.0), MASK)
    torch.testing.assert_close(found, masked_mean(tokens, MASK))


def test_guided_attention_is_its_formula():
    torch.manual_seed(0)
    module, tokens, guide = GuidedAttention(4, 5, 6), draw(3, 3, 4), draw(3, 5, seed=2)
    rows = [
        module.score.weight[0]
        @ torch.tanh(
            module.token.weight @ token + module.token.bias + module.guide.weight @ guide[2]
        )
        for token in tokens[2]
    ]
    weights = torch.stack(rows).softmax(0)
    expected = sum(weight * token for weight, token in zip(weights, tokens[2], strict=True))
    torch.testing.assert_close(module(tokens, guide, MASK)[2], expected)


def test_context_attention_is_its_formula():
    torch.manual_seed(0)
    module, tokens = ContextAttention(4), draw(3, 3, 4)
    hidden = [torch.tanh(module.hidden.weight @ t + module.hidden.bias) for t in tokens[2]]
    weights = torch.stack([row @ module.question for row in hidden]).softmax(0)
    expected = sum(weight * token for weight, token in zip(weights, tokens[2], strict=True))
    torch.testing.assert_close(module(tokens, MASK)[2], expected)


LENGTHS = (5, 2, 1)
REAL = torch.arange(5) < torch.tensor(LENGTHS).unsqueeze(1)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def reduction_unit(dropout=0.1):
    unit = ReductionUnit(8, dropout).double().eval()
    with torch.no_grad():
        for seed, parameter in enumerate(unit.parameters()):
            parameter.copy_(normal(*parameter.shape, seed=seed))
    return unit


class TestReductionUnit:
    def test_agrees_with_a_loop_over_real_tokens(self):
        unit, tokens = reduction_unit(), normal(3, 5, 8)
        actual = unit(tokens, REAL)
        for index, length in enumerate(LENGTHS):
            real = list(tokens[index, :length])
            scores = [unit.score[3](F.gelu(unit.score[0](token))).item() for token in real]
            total = sum(map(math.exp, scores))
            pooled = sum(math.exp(s) / total * token for s, token in zip(scores, real, strict=True))
            expected = unit.mix[3](F.gelu(unit.mix[0](pooled)))
            torch.testing.assert_close(actual[index], expected, atol=1e-12, rtol=1e-12)

    def test_weights_sum_to_one_and_are_zero_on_padding(self):
        weights = reduction_unit().weights(normal(3, 5, 8), REAL)
        assert (weights[~REAL] == 0).all()
        assert (weights[REAL] > 0).all()
        torch.testing.assert_close(weights.sum(1), torch.ones(3).double(), atol=1e-12, rtol=0)

    def test_padding_and_batch_mates_change_nothing(self):
        unit, tokens = reduction_unit(), normal(3, 5, 8)
        together = unit(torch.where(REAL.unsqueeze(-1), tokens, 100), REAL)
        for index, length in enumerate(LENGTHS):
            alone = unit(tokens[index : index + 1, :length])
            torch.testing.assert_close(together[index], alone[0], atol=1e-12, rtol=1e-12)

    def test_no_tokens_pool_to_zeros(self):
        unit, tokens = reduction_unit(), normal(2, 5, 8).requires_grad_()
        fused = unit(tokens, torch.zeros(2, 5, dtype=torch.bool))
        expected = unit.mix[3](F.gelu(unit.mix[0].bias)).expand(2, 8)
        torch.testing.assert_close(fused, expected, atol=1e-12, rtol=0)
        fused.sum().backward()
        assert (tokens.grad == 0).all()

    def test_the_order_of_tokens_does_not_matter(self):
        unit, tokens = reduction_unit(), normal(2, 5, 8)
        torch.testing.assert_close(unit(tokens), unit(tokens.flip(1)), atol=1e-12, rtol=1e-12)

    def test_runs_under_autocast(self):
        unit, tokens = reduction_unit().float(), normal(3, 5, 8).float()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            fused = unit(tokens, REAL)
        expected = unit(tokens, REAL)
        assert (fused.float() - expected).norm() / expected.norm() < 0.05
