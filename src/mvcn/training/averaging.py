"""An average over the course of training, to judge and keep in place of the last weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback

ETA = 3


class WeightAverage(TrainerCallback):
    r"""Exponential moving average of the trained weights.

    .. math::
        \bar w \leftarrow (1 - s_t) \, \bar w + s_t \, w, \qquad
        s_t = \max\Bigl(1 - \beta, \frac{\eta + 1}{t + \eta}\Bigr)

    after optimizer step t = 1, 2, ...; eta is 3. A run of few steps would else keep mostly what it
    began with: so the average is about the last quarter of the steps, and never more than beta
    says. It takes one more copy of the trained weights in memory, and none of the frozen ones.

    Args:
        model: Its weights are averaged.
        decay: beta; 0 keeps the last weights.

    Source:
        Polyak & Juditsky, SIAM J. Control Optim. 1992; as a moving average, Tarvainen & Valpola,
        NeurIPS 2017; its beginning, Shamir & Zhang, ICML 2013 (polynomial decay).  Not in Wei et
        al., ACL 2023; ours, and off by default.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.averages = {n: p.detach().clone() for n, p in self.weights.items()}

    @torch.no_grad()
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take the weights of one optimizer step into the average."""
        share = max(1 - self.decay, (ETA + 1) / (state.global_step + ETA))
        torch._foreach_lerp_(list(self.averages.values()), list(self.weights.values()), share)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let the model have the averaged weights inside the block."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def running_weights(self) -> dict[str, Tensor]:
        """Return the weights that are not the model's now: inside `applied`, those in training."""
        return self.averages

    @torch.no_grad()
    def restore(self, running: Mapping[str, Tensor]) -> None:
        """Take the model's weights for the average, and give it back those in training."""
        for name, weight in self.weights.items():
            self.averages[name].copy_(weight)
            weight.copy_(running[name])

    def _swap(self) -> None:
        for name, weight in self.weights.items():
            weight.data, self.averages[name] = self.averages[name], weight.data
