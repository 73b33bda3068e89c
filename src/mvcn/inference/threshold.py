"""From a wished precision to the probability that a class must have to be given."""

from pathlib import Path

from mvcn.errors import ConfigError, RunError
from mvcn.evaluation import Threshold, choose_threshold
from mvcn.training import run_folder


def read_threshold(run: Path, precision: float) -> Threshold:
    """Choose the threshold on the dev posts of a run.

    The same posts chose the epoch and the temperature, which makes them a little kinder than new
    ones.

    Args:
        run: Folder that `mvcn.training.run.train` has written.
        precision: Wished share of right ones among the labels given, above 0 and below 1.

    Raises:
        ConfigError: `precision` is not between 0 and 1.
        MvcnError: No threshold keeps the promise on the dev posts.
        RunError: The run is not finished.
    """
    if not 0 < precision < 1:
        raise ConfigError(f"The precision is {precision:g}, but must be above 0 and below 1.")
    if not run_folder.is_finished(run):
        raise RunError(f"{run} is no finished run: there are no dev posts to choose by.")
    return choose_threshold(*run_folder.read_dev_confidence(run), precision)
