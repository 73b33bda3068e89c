"""What a search space means, when a trial is pruned, and what a search writes."""

import csv
import math
import sys
from importlib import resources
from types import SimpleNamespace

import optuna
import pytest
import yaml
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from mvcn.config import DataConfig, read_recipe
from mvcn.errors import ConfigError
from mvcn.experiments.tuning import DevScores, tune
from mvcn.experiments.tuning_space import read_space
from mvcn.experiments.tuning_study import Trial, best_of, write_recipe, write_trials

SHIPPED = sorted(
    path.name.removesuffix(".yaml")
    for path in (resources.files("mvcn") / "recipes" / "spaces").iterdir()
)
RATES = {"low": "1e-5", "high": 1.0e-3, "log": True}
CONTENT = {
    "name": "rates",
    "recipe": "paper",
    "data": {"name": "hfm", "root": "posts"},
    "space": {
        "training.fusion_learning_rate": RATES,
        "training.epochs": {"low": 2, "high": 6, "step": 2},
        "model.dropout": {"low": 0, "high": 0.3, "step": 0.1},
        "model.attention": {"choices": ["softmax", "sparsemax"]},
        "objective.class_weights": {"choices": ["auto", {"positive": 2}]},
    },
}


def write(tmp_path, **changes):
    path = tmp_path / "space.yaml"
    path.write_text(yaml.safe_dump(CONTENT | changes, sort_keys=False), "utf-8")
    return str(path)


def test_a_space_has_numbers_of_the_kind_of_their_setting(tmp_path):
    space = read_space(write(tmp_path))
    rate, epochs, dropout, attention, weights = space.settings.values()
    assert rate == FloatDistribution(1e-5, 1e-3, log=True)
    assert epochs == IntDistribution(2, 6, step=2)
    assert {type(number) for number in (epochs.low, epochs.high, epochs.step)} == {int}
    assert dropout == FloatDistribution(0.0, 0.3, step=0.1)
    assert {type(number) for number in (dropout.low, dropout.high, dropout.step)} == {float}
    assert attention == CategoricalDistribution(("softmax", "sparsemax"))
    assert weights.choices == ("auto", '{"positive": 2.0}')
    stored = space.value_of("objective.class_weights", '{"positive": 2.0}')
    assert stored == {"positive": 2.0}
    assert space.value_of("training.epochs", 4) == 4
    assert (space.seeds, space.folds, space.metric) == ((0,), None, "f1_weighted")


def test_a_trial_has_the_settings_of_recipe_data_and_space(tmp_path):
    space = read_space(write(tmp_path, seeds=[4, 2], folds=2))
    config = space.config_of({"training.epochs": 5, "model.dropout": 0.2})
    cells = space.cells_of("trial-0", config)
    assert [(cell.seed, cell.fold) for cell in cells] == [(4, 0), (4, 1), (2, 0), (2, 1)]
    expected = read_recipe("paper")
    expected.update({"data": CONTENT["data"], "model": {"dropout": 0.2}})
    expected.update({"training": {"epochs": 5, "seed": 2}})
    assert cells[-1].config == expected
    assert space.start == read_recipe("paper")


def test_settings_may_have_their_earlier_names(tmp_path):
    weight, name = {"low": 0, "high": 1}, "objective.unimodal_label_weight"
    former = {"objective.annotation_weight": weight}
    assert read_space(write(tmp_path, space=former)).settings == {name: FloatDistribution(0, 1)}
    with pytest.raises(ConfigError, match=f"'{name}' is given twice"):
        read_space(write(tmp_path, space=former | {name: weight}))


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_space_is_found_by_name_and_has_one(name):
    assert read_space(name).name == name


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rows": {}}, "has the key 'rows'"),
        ({"name": ""}, "'name' must be text"),
        ({"recipe": "nothing"}, "No recipe 'nothing'"),
        ({"data": {"rot": "x"}}, "did you mean 'data.root'"),
        ({"seeds": [1, 1]}, "'seeds' must be a list of different"),
        ({"seeds": [-1]}, "'training.seed' is -1"),
        ({"folds": 1}, "'folds' must be a whole number from 2 on"),
        ({"metric": "f2"}, "'metric' must be one of f1_weighted"),
        ({"metric": ["accuracy"]}, "'metric' must be one of"),
        ({"space": {}}, "'space' must name at least one setting"),
    ],
)
def test_says_what_is_wrong_with_a_file(tmp_path, changes, words):
    path = write(tmp_path, **changes)
    with pytest.raises(ConfigError, match=words) as caught:
        read_space(path)
    assert str(caught.value).startswith(f"Search space '{path}': ")


@pytest.mark.parametrize(
    ("setting", "domain", "words"),
    [
        ("epochs", {"low": 1, "high": 2}, "must look like section.key"),
        ("data.root", {"choices": ["a", "b"]}, "cannot be searched"),
        ("training.seed", {"low": 1, "high": 2}, "cannot be searched"),
        ("training.epoch", {"low": 1, "high": 2}, "did you mean 'training.epochs'"),
        ("training.__init__", {"choices": [1, 2]}, "no setting 'training.__init__'"),
        ("trainin.epochs", {"low": 1, "high": 2}, "did you mean 'training'"),
        ("training.epochs", 3, "needs low and high, or choices"),
        ("training.epochs", {"low": 1}, "needs low and high:"),
        ("training.epochs", {"low": 1, "high": 2, "choices": [1]}, "has the key 'choices'"),
        ("training.epochs", {"low": 1, "hihg": 2}, "has the key 'hihg'"),
        ("training.epochs", {"low": 2, "high": 2}, "low 2, which must be below high, 2"),
        ("training.epochs", {"low": 0, "high": 2}, "'training.epochs' is 0, but must be at least"),
        ("training.epochs", {"low": 1.5, "high": 2}, "must be a whole number"),
        ("training.epochs", {"low": 1, "high": True}, "must be a whole number"),
        ("training.epochs", {"low": 1, "high": 6, "step": 2}, "does not lead from 1 to 6"),
        ("training.epochs", {"low": 1, "high": 6, "step": 2.5}, "a whole number above 0"),
        ("training.epochs", {"low": 1, "high": 6, "step": 0}, "a whole number above 0"),
        ("training.epochs", {"choices": [1, 2.5]}, "must be a whole number"),
        ("training.epochs", {"choices": [1]}, "different choices, at least two"),
        ("training.epochs", {"choices": [1, 2, 1]}, "different choices"),
        ("training.epochs", {"choices": 3}, "different choices"),
        ("model.dropout", {"low": 0, "high": 1}, "at least 0 and below 1"),
        ("model.dropout", {"low": 0, "high": 0.5, "log": True}, "must then be above 0"),
        ("model.dropout", {"low": 0, "high": 0.5, "log": 1}, "must be true or false"),
        ("model.dropout", {"low": 0.1, "high": 0.5, "log": True, "step": 0.1}, "log and step"),
        ("model.dropout", {"low": 0, "high": 0.5, "step": 0.2}, "does not lead from 0.0 to 0.5"),
        ("model.dropout", {"low": 0, "high": 0.5, "step": math.nan}, "a number above 0"),
        ("model.dropout", {"low": "none", "high": 0.5}, "must be a number"),
        ("model.attention", {"low": 1, "high": 2}, "is no number: give its choices"),
        ("model.attention", {"choices": ["softmax", "hardmax"]}, "must be one of sparsemax"),
        ("model.freeze_image_encoder", {"low": 0, "high": 1}, "is no number"),
        ("model.hidden_size", {"choices": [384, 100]}, "must be a multiple"),
    ],
)
def test_says_what_is_wrong_with_a_setting(tmp_path, setting, domain, words):
    path = write(tmp_path, recipe="default", space={setting: domain})
    with pytest.raises(ConfigError, match=words) as caught:
        read_space(path)
    assert str(caught.value).startswith(f"Search space '{path}': ")
    assert "\n" not in str(caught.value)


def test_says_which_spaces_there_are():
    with pytest.raises(ConfigError, match=r"No search space 'nothing': .* default"):
        read_space("nothing")


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"needs optuna: pip install 'mvcn\[tune\]'"):
        tune(read_space("default"), tmp_path / "search", 1)
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
    assert told(study.ask(), [0.0, 0.0, 0.0], epochs=3) == 3  # no other was judged at a third
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


def trials():
    settings = {"training.epochs": 4, "objective.class_weights": {"positive": 2.0}}
    return [
        Trial(0, "complete", 0.5, 10.0, settings),
        Trial(1, "pruned", 0.9, 3.0, settings),
        Trial(2, "complete", 0.625, 12.5, settings | {"training.epochs": 6}),
        Trial(3, "complete", 0.625, 12.0, settings),
        Trial(4, "failed", None, None, settings, "The loss is not finite."),
    ]


def test_the_best_is_the_first_of_the_best_complete_ones():
    assert best_of(trials()).number == 2
    assert best_of(trials()[1:2]) is None


def test_the_recipe_has_all_settings_of_the_best_and_says_where_it_comes_from(tmp_path):
    space = read_space(write(tmp_path, seeds=[3, 4]))
    path = tmp_path / "with blank" / "best.yaml"
    path.parent.mkdir()
    space.data.splits = tmp_path / "parts"
    write_recipe(path, space, trials(), best_of(trials()))
    expected = read_recipe("paper")
    expected.update({"training": {"epochs": 6}})
    expected.update({"objective": {"class_weights": {"positive": 2.0}}})
    assert read_recipe(str(path)) == expected
    assert read_recipe(str(path)).data == DataConfig()
    text = path.read_text("utf-8")
    assert "# The best of 5 trials of the search 'rates'." in text
    assert "# Expected result: weighted F1 62.5 on dev, mean over seeds 3, 4." in text
    assert "so it is optimistic" in text
    assert "# Expected time: 6 s a training" in text  # 12.5 s for two
    command = f"mvcn train --recipe '{path}' --data hfm --root posts --splits {tmp_path / 'parts'}"
    assert f"# Command: {command} --seed 3 --output RUN" in text
    space.data.text_only = True
    write_recipe(path, space, trials(), best_of(trials()))
    assert f"# Command: {command} --text-only --seed 3 --output RUN" in path.read_text("utf-8")


def test_the_table_has_a_row_for_each_trial(tmp_path):
    path = tmp_path / "trials.csv"
    write_trials(path, trials(), ("training.epochs", "objective.class_weights"))
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["number"] for row in rows] == list("01234")
    assert [row["training.epochs"] for row in rows] == list("44644")
    assert rows[2]["value"] == "0.625"
    assert rows[4]["value"] == rows[4]["seconds"] == ""
    assert rows[4]["reason"] == "The loss is not finite."
