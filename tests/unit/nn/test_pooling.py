"""Pooling of tokens: laws, and each formula written out for one post."""

import pytest
import torch

from mvcn.nn.pooling import ContextAttention, GuidedAttention, masked_mean, weighted_sum

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
