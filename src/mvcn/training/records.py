"""The records of a finished training: history, environment, model card and metrics."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mvcn.files import atomic_write, write_json
from mvcn.training.checkpoints import drop_checkpoints
from mvcn.training.model_card import model_card
from mvcn.training.run_folder import (
    CARD_FILE,
    ENVIRONMENT_FILE,
    HISTORY_FILE,
    METRICS_FILE,
    Run,
)


def write_history(path: Path, log: Sequence[Mapping[str, Any]]) -> None:
    """Write the log of a training, one row per entry, one column per name, in their order.

    A training that was resumed has its names in another order.
    """
    columns = sorted({name for entry in log for name in entry})
    with atomic_write(path) as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(log)


def write_records(run: Run, log: Sequence[Mapping[str, Any]]) -> None:
    """Write the records of a run; the metrics come last and mark it as finished.

    Args:
        run: Run with metrics and environment.
        log: Log of the Trainer.
    """
    write_history(run.folder / HISTORY_FILE, log)
    write_json(run.folder / ENVIRONMENT_FILE, run.environment)
    card = model_card(
        run.folder.resolve().name, run.config.to_mapping(), run.metrics, run.environment
    )
    with atomic_write(run.folder / CARD_FILE) as file:
        file.write(card)
    write_json(run.folder / METRICS_FILE, run.metrics)
    drop_checkpoints(run.folder)
