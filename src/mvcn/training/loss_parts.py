"""What the parts of a loss were since the last log."""

from collections.abc import Mapping

import torch
from torch import Tensor


class LossParts:
    """Collects named parts without waiting for their values."""

    def __init__(self) -> None:
        self._parts: dict[str, list[Tensor]] = {}

    def add(self, parts: Mapping[str, Tensor]) -> None:
        """Take the parts of one batch."""
        for name, value in parts.items():
            self._parts.setdefault(name, []).append(value.detach())

    def pop_means(self) -> dict[str, float]:
        """Return the mean of each part, and forget them."""
        means = {name: torch.stack(values).mean().item() for name, values in self._parts.items()}
        self._parts.clear()
        return means
