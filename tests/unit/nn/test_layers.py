"""Dropout against its law, and the LSTM over padded tokens against PyTorch's on each row alone."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mvcn.nn.layers import LEVELS, Dropout, MaskedLstm, replace_dropout

NUMBERS = 400_000
DEVIATIONS = 5


def drop(numbers, probability, seed=0):
    torch.manual_seed(seed)
    return Dropout(probability)(numbers)


@pytest.mark.parametrize("probability", [0.001, 0.1, 0.5, 0.9])
def test_the_share_that_is_dropped_is_the_probability(probability):
    share = (drop(torch.ones(NUMBERS), probability) == 0).double().mean().item()
    deviation = (probability * (1 - probability) / NUMBERS) ** 0.5
    assert abs(share - probability) < DEVIATIONS * deviation + 0.5 / LEVELS


def test_each_quarter_of_a_draw_and_each_pair_of_neighbours_is_independent():
    dropped = (drop(torch.ones(NUMBERS), 0.5) == 0).double().view(-1, 4)
    bound = DEVIATIONS * (0.25 / len(dropped)) ** 0.5
    assert (dropped.mean(0) - 0.5).abs().max() < bound
    covariance = torch.cov(torch.cat([dropped[:-1], dropped[1:]], 1).T)
    assert (covariance - 0.25 * torch.eye(8)).abs().max() < bound


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 5), (2, 4, 8)])
def test_what_is_kept_is_scaled_alike_and_so_is_its_gradient(shape, dtype):
    numbers = torch.randn(shape).to(dtype).requires_grad_()
    output = drop(numbers, 0.25)
    scale = torch.where(output == 0, 0, torch.tensor(4 / 3, dtype=torch.float64)).to(dtype)
    assert output.dtype == dtype
    torch.testing.assert_close(output, numbers * scale, rtol=0, atol=0)
    output.sum().backward()
    torch.testing.assert_close(numbers.grad, scale, rtol=0, atol=0)


def test_the_mean_is_kept_where_the_probability_is_rounded():
    kept = drop(torch.ones(NUMBERS), 0.1).unique()
    dropped = round(0.1 * LEVELS) / LEVELS
    assert kept.tolist() == [0, pytest.approx(1 / (1 - dropped), rel=1e-7)]


def test_the_seed_decides():
    numbers = torch.ones(1000)
    assert torch.equal(drop(numbers, 0.5), drop(numbers, 0.5))
    assert not torch.equal(drop(numbers, 0.5), drop(numbers, 0.5, seed=1))


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_the_ends_are_those_of_torch(probability):
    numbers = torch.randn(100)
    assert torch.equal(drop(numbers, probability), F.dropout(numbers, probability))


def test_nothing_is_dropped_in_evaluation():
    numbers = torch.randn(100)
    assert Dropout(0.5).eval()(numbers) is numbers


def test_torchs_own_is_replaced_wherever_it_is():
    module = nn.ModuleDict({"a": nn.Sequential(nn.Linear(1, 1), nn.Dropout(0.3)), "b": Dropout()})
    replace_dropout(module)
    assert type(module["a"][1]) is Dropout
    assert module["a"][1].p == 0.3
    assert type(module["b"]) is Dropout


LENGTHS = (3, 0, 5, 1)


def rows():
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(5) < torch.tensor(LENGTHS).unsqueeze(1)
    return torch.randn(4, 5, 3, generator=generator), mask


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_each_row_is_read_as_if_alone(bidirectional, num_layers):
    torch.manual_seed(1)
    module = MaskedLstm(3, 2, num_layers=num_layers, bidirectional=bidirectional).eval()
    tokens, mask = rows()
    states = module(tokens, mask)
    assert states.shape == (4, 5, module.output_dim)
    for row, length in enumerate(LENGTHS):
        assert not states[row, length:].any()
        if length:
            alone, _ = module.lstm(tokens[row : row + 1, :length])
            torch.testing.assert_close(states[row, :length], alone[0])


def test_padding_may_hold_anything():
    module, (tokens, mask) = MaskedLstm(3, 2), rows()
    changed = torch.where(mask.unsqueeze(-1), tokens, torch.nan)
    assert torch.equal(module(changed, mask), module(tokens, mask))


def test_first_states_are_those_that_are_given():
    torch.manual_seed(1)
    module, (tokens, mask) = MaskedLstm(3, 2), rows()
    first = torch.randn(2, 4, 2), torch.randn(2, 4, 2)
    alone, _ = module.lstm(tokens[2:3], tuple(state[:, 2:3] for state in first))
    torch.testing.assert_close(module(tokens, mask, first)[2], alone[0])
    assert not torch.allclose(module(tokens, mask)[2], alone[0])
