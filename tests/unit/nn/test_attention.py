"""Attention against torch's own module (softmax) and against einsum with entmax (sparsemax)."""

import entmax
import pytest
import torch
from torch import nn

from mvcn.errors import ConfigError
from mvcn.nn.attention import MultiHeadAttention, masked_softmax

NORMALIZERS = ["softmax", "sparsemax"]


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def build(normalizer, dim=12, num_heads=3, dtype=torch.float64, scale=1.0):
    module = MultiHeadAttention(dim, num_heads, normalizer).to(dtype)
    with torch.no_grad():
        for seed, parameter in enumerate(module.parameters()):
            parameter.copy_(normal(*parameter.shape, seed=seed, dtype=dtype) * scale)
    return module


def torch_attention(ours, dim=12, num_heads=3):
    theirs = nn.MultiheadAttention(dim, num_heads, batch_first=True, dtype=torch.float64)
    parts = [ours.query, ours.key, ours.value]
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        theirs.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
        theirs.out_proj.weight.copy_(ours.out.weight)
        theirs.out_proj.bias.copy_(ours.out.bias)
    return theirs


MASK = torch.arange(7) < torch.tensor([7, 4, 1]).unsqueeze(1)


@pytest.mark.parametrize("return_weights", [False, True])
@pytest.mark.parametrize("mask", [None, MASK])
def test_softmax_attention_agrees_with_torch(mask, return_weights):
    ours, query, memory = build("softmax"), normal(3, 5, 12), normal(3, 7, 12, seed=9)
    padding = None if mask is None else ~mask
    expected, expected_weights = torch_attention(ours)(
        query, memory, memory, key_padding_mask=padding, average_attn_weights=False
    )
    actual, weights = ours(query, memory, mask, return_weights=return_weights)
    torch.testing.assert_close(actual, expected, atol=1e-12, rtol=1e-12)
    if return_weights:
        torch.testing.assert_close(weights, expected_weights, atol=1e-12, rtol=0)


@pytest.mark.parametrize("mask", [None, MASK])
def test_sparsemax_attention_agrees_with_einsum_and_entmax(mask):
    ours, query, memory = build("sparsemax", scale=0.3), normal(3, 5, 12), normal(3, 7, 12, seed=9)
    q = ours.query(query).reshape(3, 5, 3, 4)
    k, v = ours.key(memory).reshape(3, 7, 3, 4), ours.value(memory).reshape(3, 7, 3, 4)
    scores = torch.einsum("bthd,bphd->bhtp", q, k) / 2  # the square root of 4, the head's width
    if mask is not None:
        scores = scores.masked_fill(~mask[:, None, None], -torch.inf)
    expected_weights = entmax.sparsemax(scores, dim=-1)
    heads = torch.einsum("bhtp,bphd->bthd", expected_weights, v)
    actual, weights = ours(query, memory, mask, return_weights=True)
    torch.testing.assert_close(weights, expected_weights, atol=1e-12, rtol=0)
    torch.testing.assert_close(actual, ours.out(heads.reshape(3, 5, 12)), atol=1e-12, rtol=0)


@pytest.mark.parametrize("normalizer", NORMALIZERS)
@pytest.mark.parametrize("mask", [None, MASK])
def test_asking_for_weights_changes_nothing(normalizer, mask):
    module = build(normalizer, dtype=torch.float32, scale=0.3)
    query, memory = normal(3, 5, 12, dtype=torch.float32), normal(3, 7, 12, dtype=torch.float32)
    plain, nothing = module(query, memory, mask)
    asked, weights = module(query, memory, mask, return_weights=True)
    assert nothing is None
    assert weights.shape == (3, 3, 5, 7)
    torch.testing.assert_close(plain, asked, atol=1e-6, rtol=0)


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_weights_are_on_the_simplex_and_zero_where_masked(normalizer):
    module, query, memory = build(normalizer), normal(3, 5, 12), normal(3, 7, 12, seed=9)
    _, weights = module(query, memory, MASK, return_weights=True)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 3, 5).double(), atol=1e-12, rtol=0)
    assert (weights >= 0).all()
    assert (weights.permute(0, 3, 1, 2)[~MASK] == 0).all()


def test_only_sparsemax_gives_exact_zeros_to_real_patches():
    query, memory = normal(3, 5, 12), normal(3, 7, 12, seed=9)
    _, sparse = build("sparsemax", scale=0.3)(query, memory, return_weights=True)
    _, dense = build("softmax", scale=0.3)(query, memory, return_weights=True)
    assert (sparse == 0).any()
    assert (sparse > 0).sum() > 3 * 3 * 5  # more than one patch a row on average
    assert (dense > 0).all()


@pytest.mark.parametrize("normalizer", NORMALIZERS)
@pytest.mark.parametrize("return_weights", [False, True])
def test_a_fully_masked_memory_collects_zeros(normalizer, return_weights):
    module, query = build(normalizer), normal(3, 5, 12).requires_grad_()
    memory = normal(3, 7, 12, seed=9).requires_grad_()
    mask = torch.tensor([True, False, True]).unsqueeze(1).expand(3, 7)
    output, weights = module(query, memory, mask, return_weights=return_weights)
    assert (output[1] == module.out.bias).all()
    assert weights is None or (weights[1] == 0).all()
    output.sum().backward()
    for tensor in (query, memory):
        assert (tensor.grad[1] == 0).all()
        assert tensor.grad.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in module.parameters())


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_gradient_is_the_same_with_and_without_weights(normalizer):
    module, memory = build(normalizer, scale=0.3), normal(3, 7, 12, seed=9)
    gradients = []
    for return_weights in (False, True):
        query = normal(3, 5, 12).requires_grad_()
        output, _ = module(query, memory, MASK, return_weights=return_weights)
        gradients += torch.autograd.grad(output.square().sum(), query)
    torch.testing.assert_close(*gradients, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("normalizer", NORMALIZERS)
@pytest.mark.parametrize("return_weights", [False, True])
def test_runs_in_half_precision(normalizer, return_weights):
    module = build(normalizer, dtype=torch.float32, scale=0.3)
    query, memory = normal(3, 5, 12, dtype=torch.float32), normal(3, 7, 12, dtype=torch.float32)
    expected, _ = module(query, memory, MASK)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        autocast, _ = module(query, memory, MASK, return_weights=return_weights)
    half, _ = module.bfloat16()(
        query.bfloat16(), memory.bfloat16(), MASK, return_weights=return_weights
    )
    assert autocast.dtype == half.dtype == torch.bfloat16
    for actual in (autocast, half):
        assert (actual.float() - expected).norm() / expected.norm() < 0.05


def test_masked_softmax_is_softmax_of_the_rest():
    scores, keep = normal(5, 8), [0, 2, 3, 7]
    mask = torch.zeros(8, dtype=torch.bool)
    mask[keep] = True
    weights = masked_softmax(scores, mask)
    assert (weights[:, ~mask] == 0).all()
    expected = scores[:, keep].exp() / scores[:, keep].exp().sum(-1, keepdim=True)
    torch.testing.assert_close(weights[:, keep], expected, atol=1e-12, rtol=0)


def test_masked_softmax_of_nothing_is_zeros_without_gradient():
    scores = normal(2, 4).requires_grad_()
    weights = masked_softmax(scores, torch.zeros(2, 4, dtype=torch.bool))
    weights.square().sum().backward()
    assert (weights == 0).all()
    assert (scores.grad == 0).all()


@pytest.mark.parametrize("num_heads", [0, 5])
def test_heads_must_divide_the_width(num_heads):
    with pytest.raises(
        ConfigError, match=f"A width of 12 cannot be divided evenly among {num_heads} "
    ):
        MultiHeadAttention(12, num_heads)


def test_heads_may_be_wider_than_their_part():
    module = MultiHeadAttention(12, 3, head_dim=7).double()
    query, memory = normal(3, 5, 12), normal(3, 7, 12, seed=9)
    q, k, v = (
        layer(tokens).reshape(3, -1, 3, 7)
        for layer, tokens in (
            (module.query, query),
            (module.key, memory),
            (module.value, memory),
        )
    )
    weights = (torch.einsum("bthd,bphd->bhtp", q, k) / 7**0.5).softmax(-1)
    expected = module.out(torch.einsum("bhtp,bphd->bthd", weights, v).flatten(2))
    torch.testing.assert_close(module(query, memory)[0], expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("mask", [None, torch.ones(200, 1, dtype=torch.bool)])
@pytest.mark.parametrize("return_weights", [False, True])
def test_dropped_weights_are_zero_and_the_others_are_scaled(return_weights, mask):
    torch.manual_seed(0)
    module = MultiHeadAttention(4, 1, dropout=0.25).double()
    query, memory = normal(200, 1, 4), normal(1, 1, 4, seed=9).expand(200, 1, 4)
    found, _ = module(query, memory, mask, return_weights=return_weights)
    # There is one token to attend to, whose weight is 1: it is dropped, or scaled by 4 / 3.
    dropped, kept = (module.out(module.value(memory[0]) * scale) for scale in (0, 4 / 3))
    is_dropped, is_kept = (
        torch.isclose(found, value, atol=1e-12).all(-1).flatten() for value in (dropped, kept)
    )
    assert (is_dropped ^ is_kept).all()
    assert 30 <= is_dropped.sum() <= 70  # 50 are expected, with a deviation of 6
    module.eval()
    assert torch.isclose(module(query, memory, mask)[0], module.out(module.value(memory))).all()


def test_sparse_weights_are_never_dropped():
    with pytest.raises(ConfigError, match="Sparsemax weights cannot be dropped"):
        MultiHeadAttention(12, 3, "sparsemax", dropout=0.1)


@pytest.mark.parametrize("is_autocast", [False, True])
@pytest.mark.parametrize("return_weights", [False, True])
@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_scores_may_exceed_the_largest_half_precision_number(
    normalizer, return_weights, is_autocast
):
    ours = MultiHeadAttention(64, 1, normalizer).double()
    with torch.no_grad():
        for layer in (ours.query, ours.key, ours.value, ours.out):
            layer.weight.copy_(torch.eye(64))
            layer.bias.zero_()
    # Scores of 64 * 100 * 100 / 8 = 80,000 and more.
    query, memory = torch.full((1, 1, 64), 100.0), torch.full((1, 3, 64), 100.0)
    memory[0, 1], memory[0, 2] = 120, -130
    expected, _ = ours(query.double(), memory.double())
    ours = ours.float() if is_autocast else ours.half()
    inputs = (query, memory) if is_autocast else (query.half(), memory.half())
    with torch.autocast("cpu", torch.float16, enabled=is_autocast):
        actual, weights = ours(*inputs, return_weights=return_weights)
    assert actual.double().tolist() == expected.tolist()
    if return_weights:
        assert weights.flatten().tolist() == [0, 1, 0]


@pytest.mark.parametrize("return_weights", [False, True])
@pytest.mark.parametrize("mask", [None, torch.ones(2, 0, dtype=torch.bool)])
@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_without_memory_tokens_collect_zeros(normalizer, mask, return_weights):
    ours, query = build(normalizer), normal(2, 5, 12).requires_grad_()
    output, _ = ours(query, normal(2, 0, 12), mask, return_weights=return_weights)
    assert torch.equal(output, ours.out.bias.expand(2, 5, 12))
    output.sum().backward()
    assert (query.grad == 0).all()


@pytest.mark.parametrize("shape", [(2, 0, 12), (0, 5, 12)])
@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_without_tokens_nothing_is_collected(normalizer, shape):
    memory = normal(shape[0], 7, 12)
    assert build(normalizer)(normal(*shape), memory)[0].shape == shape
