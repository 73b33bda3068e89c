"""What the parts of a loss were since the last log."""

from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor

from mvcn.losses.distributed import num_processes


class LossParts:
    """Collects named parts without waiting for their values."""

    def __init__(self) -> None:
        self._parts: dict[str, list[Tensor]] = {}

    def add(self, parts: Mapping[str, Tensor]) -> None:
        """Take the parts of one batch."""
        for name, value in parts.items():
            self._parts.setdefault(name, []).append(value.detach())

    def pop_means(self) -> dict[str, float]:
        """Return the mean of each part over the batches of all processes, and forget them."""
        means = {name: _of_all(torch.stack(values).mean()) for name, values in self._parts.items()}
        self._parts.clear()
        return means


def _of_all(mean: Tensor) -> float:
    if num_processes() > 1:
        dist.all_reduce(mean)
    return mean.item() / num_processes()
