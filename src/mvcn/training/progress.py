"""What a person sees while training: a bar with the remaining time, and a line each epoch."""

import sys
from collections.abc import Mapping
from typing import Any

from tqdm import tqdm
from transformers.trainer_callback import ProgressCallback


class EpochLines(ProgressCallback):
    """The Trainer's bars, with one readable line at each evaluation in place of its logs."""

    def on_log(
        self,
        args: Any,
        state: Any,
        control: Any,
        logs: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Write the dev scores; all other logs go to the history file alone."""
        if logs and "eval_accuracy" in logs and self.training_bar is not None:
            self.training_bar.write(_line(logs, float(args.num_train_epochs)))


def notice(sentence: str) -> None:
    """Write what a person should know without a bar in the way."""
    tqdm.write(sentence, file=sys.stderr)


def _line(logs: Mapping[str, float], epochs: float) -> str:
    return (
        f"epoch {logs['epoch']:.0f} of {epochs:.0f}: dev loss {logs['eval_loss']:.3f}, "
        f"accuracy {100 * logs['eval_accuracy']:.1f}, "
        f"weighted F1 {100 * logs['eval_f1_weighted']:.1f}"
    )
