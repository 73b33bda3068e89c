"""The progress of an experiment: what each cell is doing, and the time that is left."""

import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import mean
from typing import Any

from transformers import TrainerCallback

from mvcn.errors import count_of
from mvcn.experiments.grid import Cell

SECONDS_PER_LINE = 60.0
"""Least time between two lines of a log file that say what the cells are doing."""
MINUTE, HOUR = 60, 3600
AT_LEAST = 2
"""Fewest minutes or hours that are shown as such, and not in the smaller unit."""


class EpochFile(TrainerCallback):
    """Writes the epoch of a training into a small file, which another process reads.

    Args:
        path: The file.
        folder: Run folder, in which members and the auxiliary module have folders of their own.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        self.path = path
        self.folder = folder

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write the number of the epoch that begins."""
        _, *inside = Path(args.output_dir).relative_to(self.folder).parts[::-1]
        named = [inside[0].replace("-", " ")] if inside else []
        epoch = f"epoch {int(state.epoch) + 1} of {args.num_train_epochs:.0f}"
        self.path.write_text(", ".join([*named, epoch]), "utf-8")


class StatusLine:
    """One line of standard error that changes; in a log file, at most one line a minute.

    A terminal that is closed does not stop the work.
    """

    def __init__(self) -> None:
        self.shown = ""
        self.shown_at = -SECONDS_PER_LINE

    def show(self, text: str) -> None:
        """Show what is going on, cut to the width of the terminal."""
        if sys.stderr.isatty():
            self._write(f"\r{text[: shutil.get_terminal_size().columns - 1]}\x1b[K")
        elif text != self.shown and time.monotonic() - self.shown_at >= SECONDS_PER_LINE:
            self._write(f"{text}\n")
            self.shown, self.shown_at = text, time.monotonic()

    def say(self, sentence: str) -> None:
        """Write a sentence that stays."""
        self.close()
        self._write(f"{sentence}\n")

    def close(self) -> None:
        """Remove the line that changes."""
        if sys.stderr.isatty():
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        with suppress(OSError):
            sys.stderr.write(text)
            sys.stderr.flush()


class Progress:
    """Shows how many cells are finished, what the others do, and the time that is left.

    Args:
        name: Of the experiment.
        cells: All cells.
        jobs: Cells that are trained in parallel.
        line: Where it is shown.
    """

    def __init__(self, name: str, cells: Sequence[Cell], jobs: int, line: StatusLine) -> None:
        self.name = name
        self.cells = cells
        self.jobs = jobs
        self.line = line
        self.seconds: dict[Path, float] = {}
        """Path of each finished cell -> what its training took."""
        self.started: dict[Path, float] = {}
        """Path of each running cell -> when it was first seen."""

    def resume(self, seconds: Mapping[Path, float]) -> None:
        """Take over cells that are finished already, and say how long the others will take."""
        self.seconds.update(seconds)
        if self.seconds:
            self._say_expected()

    def finish(self, cell: Cell, seconds: float) -> None:
        """Say what a cell took; after the first, also how long the others will take."""
        self.started.pop(cell.path, None)
        self.seconds[cell.path] = seconds
        self.line.say(
            f"{self.name}: {self._count()} finished; {cell.path} took {duration(seconds)}."
        )
        if len(self.seconds) == 1:
            self._say_expected()

    def show(self, running: Mapping[Path, str]) -> None:
        """Show what the running cells do.

        Args:
            running: Path of a cell -> such as "epoch 2 of 6".
        """
        for path in running:
            self.started.setdefault(path, time.monotonic())
        doing = "; ".join(f"{path} {status}" for path, status in running.items())
        left = self.seconds_left()
        shown = "" if left is None else f", {duration(left)} left"
        self.line.show(f"{self._count()}{shown}: {doing or 'starting'}")

    def seconds_left(self) -> float | None:
        """Return the expected time of all other cells; None before the first is finished.

        A cell is expected to take the mean time of the finished ones of its variant and dataset,
        else the mean of all finished ones.
        """
        if not self.seconds:
            return None
        known: dict[tuple[str, str], list[float]] = defaultdict(list)
        for cell in self.cells:
            if cell.path in self.seconds:
                known[cell.variant, cell.data].append(self.seconds[cell.path])
        usual = mean(self.seconds.values())
        left, now = 0.0, time.monotonic()
        for cell in self.cells:
            if cell.path not in self.seconds:
                expected = mean(known.get((cell.variant, cell.data), [usual]))
                elapsed = now - self.started.get(cell.path, now)
                left += max(0.0, expected - elapsed)
        return left / self.jobs

    def _count(self) -> str:
        return f"{len(self.seconds)} of {count_of(len(self.cells), 'cell')}"

    def _say_expected(self) -> None:
        left, others = self.seconds_left(), len(self.cells) - len(self.seconds)
        if left is not None and others:
            named = count_of(others, "other cell takes", "other cells take")
            self.line.say(f"{self.name}: the {named} about {duration(left)}.")


def duration(seconds: float) -> str:
    """Return a duration in the largest unit that it has two of, such as "3.2 h"."""
    if seconds < AT_LEAST * MINUTE:
        return f"{seconds:.0f} s"
    if seconds < AT_LEAST * HOUR:
        return f"{seconds / MINUTE:.0f} min"
    return f"{seconds / HOUR:.1f} h"
