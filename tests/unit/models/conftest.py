"""Inputs of networks."""

import pytest
import torch

from mvcn.models.network import Tokens


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
