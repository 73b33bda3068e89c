"""Where the time of a training step goes; writes results/training-step.json.

Run from the repository's root: ``python -m scripts.speed.training_step``. The work is that of
`scripts.speed.training_epoch`. A profile of torch's operations is taken of some steps; the time of
an operation is that of its own code, without the operations that it calls. Then the optimizer's
step, averaged over as many, is timed with each of PyTorch's implementations.
"""

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from transformers import TrainerCallback

from scripts import results
from scripts.speed import training_epoch

POSTS, FIRST, STEPS = 800, 10, 30
PARTS = {
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm"),
    "optimizer, norm of gradients and averaged weights": (
        *("_fused_adamw_", "Optimizer.", "lerp_", "linalg_vector_norm", "aten::mul_"),
    ),
    "attention": ("scaled_dot_product", "sparsemax", "softmax"),
    "activations and norms of layers": ("gelu", "layer_norm", "tanh", "sigmoid"),
    "dropout": ("random_", "aten::ge", "masked_fill", "dropout"),
    "batches": ("DataLoader",),
}
"""What a part is called -> what the names of its operations contain; the first that fits counts."""
OPTIMIZERS = {"fused": {"fused": True}, "foreach": {"foreach": True}, "loop": {"foreach": False}}


class Profile(TrainerCallback):
    """Profiles the steps from `FIRST` on, then times optimizers on the same parameters."""

    def __init__(self) -> None:
        self.profile = profile(activities=[ProfilerActivity.CPU])
        self.started = self.seconds = 0.0
        self.optimizers: dict[str, float] = {}

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start or stop."""
        if state.global_step == FIRST:
            self.profile.start()
            self.started = time.perf_counter()
        elif state.global_step == FIRST + STEPS:
            self.seconds = time.perf_counter() - self.started
            self.profile.stop()
        elif state.global_step == FIRST + STEPS + 1:
            self.optimizers = _optimizer_seconds(kwargs["optimizer"])
            control.should_training_stop = True

    def shares(self) -> dict[str, float]:
        """Return the share of each part in the time of a step."""
        seconds = dict.fromkeys(PARTS, 0.0)
        for event in self.profile.key_averages():
            if name := next((part for part in PARTS if _is_of(event.key, PARTS[part])), None):
                seconds[name] += event.self_cpu_time_total / 1e6
        shares = {name: value / self.seconds for name, value in seconds.items()}
        return {**shares, "all else": 1 - sum(shares.values())}


def main() -> None:
    """Measure, and write the file of results."""
    found = Profile()
    with TemporaryDirectory() as name:
        folder = Path(name)
        training_epoch.prepare(folder, POSTS)
        training_epoch.train(folder, found)
    step = {"seconds": found.seconds / STEPS, "shares": found.shares()}
    results.write("training-step", {"step": step, "optimizer_seconds": found.optimizers})


def _is_of(operation: str, names: tuple[str, ...]) -> bool:
    """Return whether an operation belongs to a part; full names are compared as such."""
    return any(
        operation == name if name.startswith("aten::") else name in operation for name in names
    )


def _optimizer_seconds(optimizer: Any) -> dict[str, float]:
    """Return the seconds of a step by each implementation, on copies of the parameters."""
    seconds = {}
    for name, options in OPTIMIZERS.items():
        copies = [p.detach().clone().requires_grad_() for p in _parameters(optimizer)]
        for copy in copies:
            copy.grad = torch.full_like(copy, 1e-3)
        adamw = torch.optim.AdamW(copies, **options)  # type: ignore[arg-type]
        adamw.step()  # makes its state
        started = time.perf_counter()
        for _ in range(STEPS):
            adamw.step()
        seconds[name] = (time.perf_counter() - started) / STEPS
    return seconds


def _parameters(optimizer: Any) -> list[torch.Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


if __name__ == "__main__":
    main()
