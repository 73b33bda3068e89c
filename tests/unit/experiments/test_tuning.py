"""When a trial of a search is pruned."""

import re
import sys
from types import SimpleNamespace

import optuna
import pytest

from mvcn.errors import ConfigError, how_to_install
from mvcn.experiments.tuning import DevScores, tune
from mvcn.experiments.tuning_space import read_space


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=re.escape(how_to_install("tune"))):
        tune(read_space("single"), tmp_path / "search", 1)
    assert not (tmp_path / "search").exists()


@pytest.fixture
def study():
    """Five complete trials of two epochs, each with its own score throughout."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    pruner = optuna.pruners.MedianPruner(5, n_min_trials=3)
    study = optuna.create_study(direction="maximize", pruner=pruner)
    for score in (0.1, 0.2, 0.3, 0.4, 0.5):
        trial = study.ask()
        told(trial, [score, score], epochs=2)
        study.tell(trial, score)
    return study


def told(trial, scores, *, epochs, before=(), trainings=1):
    """Tell the scores of epochs until the training is ended; return how many were told."""
    progress = SimpleNamespace(set_postfix_str=lambda _: None)
    callback = DevScores(trial, "accuracy", before, trainings, progress)
    control = SimpleNamespace(should_training_stop=False)
    arguments = SimpleNamespace(num_train_epochs=float(epochs))
    for epoch, score in enumerate(scores, 1):
        state = SimpleNamespace(epoch=float(epoch))
        callback.on_evaluate(arguments, state, control, metrics={"eval_accuracy": score})
        if control.should_training_stop:
            return epoch
    return len(scores)


def test_a_trial_below_the_median_is_pruned_half_way(study):
    trial = study.ask()
    assert told(trial, [0.29, 0.9], epochs=2) == 1  # the median of .1 .2 .3 .4 .5 is .3
    assert trial.user_attrs["pruned"]
    trial = study.ask()
    assert told(trial, [0.31, 0.0], epochs=2) == 2
    assert "pruned" not in trial.user_attrs


def test_the_last_epoch_is_too_late_to_prune(study):
    trial = study.ask()
    assert told(trial, [0.0], epochs=1) == 1
    assert "pruned" not in trial.user_attrs


def test_trials_are_compared_after_the_same_part_of_their_training(study):
    assert told(study.ask(), [0.0, 0.0, 0.0, 0.0], epochs=4) == 2
    assert told(study.ask(), [0.0, 0.0, 0.0], epochs=3) == 3  # no other was evaluated at a third
    # The first of two trainings is half of the trial; its mean with the next one's epoch counts.
    assert told(study.ask(), [0.0], epochs=1, trainings=2) == 1


def test_the_value_is_the_mean_over_the_trainings_so_far(study):
    trial = study.ask()
    told(trial, [0.4, 0.6], epochs=2, before=[0.8], trainings=2)
    (frozen,) = (t for t in study.trials if t.number == trial.number)
    assert frozen.intermediate_values == pytest.approx({7500: 0.6, 10000: 0.7})


def test_a_repeated_epoch_is_told_once_and_decided_alike(study):
    trial = study.ask()
    assert told(trial, [0.2], epochs=2) == 1
    assert told(trial, [0.2], epochs=2) == 1  # optuna would warn of a second report
    assert trial.user_attrs["pruned"]
