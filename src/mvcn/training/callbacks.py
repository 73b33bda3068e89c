"""Callbacks of the Trainer: averaged weights, and the progress that a user sees."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback
from transformers.trainer_callback import ProgressCallback

ETA = 3


class WeightAverage(TrainerCallback):
    r"""Exponential moving average of the trained weights.

    .. math::
        \bar w \leftarrow (1 - s_t) \, \bar w + s_t \, w, \qquad
        s_t = \max\Bigl(1 - \beta, \frac{\eta + 1}{t + \eta}\Bigr)

    after optimizer step t = 1, 2, ...; eta is 3. The average thus covers about the last quarter of
    the steps, and never more than beta allows: otherwise a short run would keep its first weights.
    It holds one more copy of the trained weights in memory.

    Args:
        model: The model in training.
        decay: beta; 0 keeps the last weights.

    Source:
        Polyak & Juditsky, SIAM J. Control Optim. 1992; as a moving average, Tarvainen & Valpola,
        NeurIPS 2017; its warm-up, Shamir & Zhang, ICML 2013 (polynomial decay).  Not in Wei et
        al., ACL 2023; ours, and off by default.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.averages = {n: p.detach().clone() for n, p in self.weights.items()}

    @torch.no_grad()
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Update the average after an optimizer step."""
        share = max(1 - self.decay, (ETA + 1) / (state.global_step + ETA))
        torch._foreach_lerp_(list(self.averages.values()), list(self.weights.values()), share)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Use the averaged weights in the model within the block."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def running_weights(self) -> dict[str, Tensor]:
        """Return the weights that the model does not hold: within `applied`, those in training."""
        return self.averages

    @torch.no_grad()
    def restore(self, running: Mapping[str, Tensor]) -> None:
        """Take the model's weights as the average, and `running` as its weights in training."""
        for name, weight in self.weights.items():
            self.averages[name].copy_(weight)
            weight.copy_(running[name])

    def _swap(self) -> None:
        for name, weight in self.weights.items():
            weight.data, self.averages[name] = self.averages[name], weight.data


class EpochLines(ProgressCallback):
    """The Trainer's progress bars, and one line per evaluation."""

    def on_log(
        self,
        args: Any,
        state: Any,
        control: Any,
        logs: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Write the dev metrics; all other logs only go to the history file."""
        if logs and "eval_accuracy" in logs and self.training_bar is not None:
            self.training_bar.write(_line(logs, float(args.num_train_epochs)))


def _line(logs: Mapping[str, float], epochs: float) -> str:
    return (
        f"epoch {logs['epoch']:.0f} of {epochs:.0f}: dev loss {logs['eval_loss']:.3f}, "
        f"accuracy {100 * logs['eval_accuracy']:.1f}, "
        f"weighted F1 {100 * logs['eval_f1_weighted']:.1f}"
    )
