"""The LSTM on rows of different lengths against PyTorch's on each row alone."""

import pytest
import torch

from mvcn.nn.recurrent import MaskedLstm

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
