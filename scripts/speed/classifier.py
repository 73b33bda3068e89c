"""Cross-validation of a classifier of numeric features.

Work, the same for both sides: five folds of scikit-learn's digits, scaled; both classifiers have
their default settings. Ours is `CongruityClassifier`, which trains 100 epochs, the reference is
`sklearn.neural_network.MLPClassifier`, which trains at most 200, in batches three times as large,
until its loss falls no further.
"""

import time
import warnings
from pathlib import Path

from sklearn.base import ClassifierMixin
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mvcn.cli.process import set_up_process
from mvcn.sklearn import CongruityClassifier

EPOCHS_FILE = "epochs.txt"


def prepare(folder: Path, count: int) -> None:
    """Write how many epochs the reference trains at most; ours trains half as many."""
    (folder / EPOCHS_FILE).write_text(str(count), "utf-8")


def ours(folder: Path) -> float:
    """Return the seconds of `CongruityClassifier`."""
    return _seconds(CongruityClassifier(max_iter=_epochs(folder) // 2, random_state=0))


def reference(folder: Path) -> float:
    """Return the seconds of `MLPClassifier`."""
    return _seconds(MLPClassifier(max_iter=_epochs(folder), random_state=0))


def _epochs(folder: Path) -> int:
    return int((folder / EPOCHS_FILE).read_text("utf-8"))


def _seconds(classifier: ClassifierMixin) -> float:
    set_up_process()
    warnings.filterwarnings("ignore")
    started = time.perf_counter()
    cross_val_score(make_pipeline(StandardScaler(), classifier), *load_digits(return_X_y=True))
    return time.perf_counter() - started
