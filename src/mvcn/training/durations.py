"""How long the steps of a run take."""

import os
import time
from collections.abc import Mapping
from typing import Any


class Durations:
    """Seconds of the image features, from the start, and of the training that follows them."""

    def __init__(self, *, resumed: bool = False) -> None:
        self._started, self._resumed = time.monotonic(), resumed
        self.start_training()

    def start_training(self) -> None:
        """Call this once the features of images are there."""
        self._training, self._processor = time.monotonic(), _processor_seconds()

    def to_mapping(self) -> Mapping[str, Any]:
        """Return what has passed up to now, for the metrics of a run.

        ``seconds`` are those of the clock for each step, ``processor_seconds`` those that this
        process and those which it has waited for have computed since the start of the training.
        If ``resumed``, what earlier processes took is not in them.
        """
        return {
            "seconds": {
                "image_features": round(self._training - self._started, 1),
                "training": round(time.monotonic() - self._training, 1),
            },
            "processor_seconds": round(_processor_seconds() - self._processor, 1),
            "resumed": self._resumed,
        }


def _processor_seconds() -> float:
    return sum(os.times()[:4])  # of the process and its children, in the user's and the kernel's
