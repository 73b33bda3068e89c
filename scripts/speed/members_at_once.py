"""Training all members of the recipe `default`: at the same time, and one after the other.

Work: generated posts of text and image, whose image features are in the cache, in the epochs of the
recipe, however few steps they are. A side is timed from the settings to the finished run folder.
Ours trains a member on each core, the reference one after the other, each by threads on all cores,
as a training with callbacks of the caller does.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from transformers import TrainerCallback

from mvcn.cli.process import set_up_process
from mvcn.config import read_recipe
from mvcn.data.synthetic import generate_posts, write_table
from mvcn.training.run import train


def prepare(folder: Path, count: int) -> None:
    """Write the posts, and keep their image features."""
    write_table(generate_posts(count, seed=0), folder)
    _seconds(folder, epochs=1)


def at_once(folder: Path) -> float:
    """Return the seconds of a training of all members at the same time."""
    return _seconds(folder)


def one_by_one(folder: Path) -> float:
    """Return the seconds of the same training, one member after the other."""
    return _seconds(folder, [TrainerCallback()])


def _seconds(
    folder: Path, callbacks: Sequence[TrainerCallback] = (), epochs: int | None = None
) -> float:
    set_up_process()
    config = read_recipe("default")
    training = {"min_steps": 1, "export": False} | ({} if epochs is None else {"epochs": epochs})
    config.update({"data": {"train": str(folder / "posts.csv")}, "training": training})
    started = time.perf_counter()
    with TemporaryDirectory() as output:
        train(config, Path(output) / "run", callbacks=callbacks)
    return time.perf_counter() - started
