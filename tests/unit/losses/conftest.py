"""The constraint is computed in C where there is a compiler, else by torch: both are tested."""

import pytest
import torch

from mvcn.losses import compiled


@pytest.fixture(scope="module", params=["C", "torch"])
def code(request):
    """Which of the two computes."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "torch":
            patch.setattr(compiled, "_load", lambda: None)
        elif compiled.library(torch.device("cpu")) is None:
            pytest.skip("there is no C compiler")
        yield request.param
