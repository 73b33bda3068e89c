"""What a search space means, and what is wrong with one that means nothing."""

import math
from importlib import resources

import pytest
import yaml
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from mvcn.config import read_recipe
from mvcn.errors import ConfigError
from mvcn.experiments.tuning_space import read_space

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
    with pytest.raises(ConfigError, match=f"'{name}' is there twice"):
        read_space(write(tmp_path, space=former | {name: weight}))


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_space_is_found_by_name_and_has_one(name):
    assert read_space(name).name == name


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rows": {}}, "has the key 'rows'"),
        ({"name": ""}, "'name' must be text"),
        ({"recipe": "nothing"}, "no recipe 'nothing'"),
        ({"data": {"rot": "x"}}, "did you mean 'data.root'"),
        ({"seeds": [1, 1]}, "'seeds' must be a list of different"),
        ({"seeds": [-1]}, "'training.seed' is -1"),
        ({"folds": 1}, "'folds' must be a whole number of at least 2"),
        ({"metric": "f2"}, "'metric' must be one of f1_weighted"),
        ({"metric": ["accuracy"]}, "'metric' must be one of"),
        ({"space": {}}, "'space' must have at least one setting"),
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
        ("epochs", {"low": 1, "high": 2}, "must look like training.epochs"),
        ("data.root", {"choices": ["a", "b"]}, "cannot be searched"),
        ("training.seed", {"low": 1, "high": 2}, "cannot be searched"),
        ("training.epoch", {"low": 1, "high": 2}, "did you mean 'training.epochs'"),
        ("training.__init__", {"choices": [1, 2]}, "no setting 'training.__init__'"),
        ("trainin.epochs", {"low": 1, "high": 2}, "did you mean 'training'"),
        ("training.epochs", 3, "needs low and high, or choices"),
        ("training.epochs", {"low": 1}, "needs low and high:"),
        ("training.epochs", {"low": 1, "high": 2, "choices": [1]}, "has the key 'choices'"),
        ("training.epochs", {"low": 1, "hihg": 2}, "has the key 'hihg'"),
        ("training.epochs", {"low": 2, "high": 2}, "low 2, which must be below its high, 2"),
        ("training.epochs", {"low": 0, "high": 2}, "'training.epochs' is 0, but must be at least"),
        ("training.epochs", {"low": 1.5, "high": 2}, "must be a whole number"),
        ("training.epochs", {"low": 1, "high": True}, "must be a whole number"),
        (
            "training.epochs",
            {"low": 1, "high": 6, "step": 2},
            "does not divide the range from 1 to 6",
        ),
        ("training.epochs", {"low": 1, "high": 6, "step": 2.5}, "a whole number above 0"),
        ("training.epochs", {"low": 1, "high": 6, "step": 0}, "a whole number above 0"),
        ("training.epochs", {"choices": [1, 2.5]}, "must be a whole number"),
        ("training.epochs", {"choices": [1]}, "at least two different choices"),
        ("training.epochs", {"choices": [1, 2, 1]}, "different choices"),
        ("training.epochs", {"choices": 3}, "different choices"),
        ("model.dropout", {"low": 0, "high": 1}, "at least 0 and below 1"),
        ("model.dropout", {"low": 0, "high": 0.5, "log": True}, "must be above 0"),
        ("model.dropout", {"low": 0, "high": 0.5, "log": 1}, "must be true or false"),
        ("model.dropout", {"low": 0.1, "high": 0.5, "log": True, "step": 0.1}, "log and step"),
        (
            "model.dropout",
            {"low": 0, "high": 0.5, "step": 0.2},
            "does not divide the range from 0.0 to 0.5",
        ),
        ("model.dropout", {"low": 0, "high": 0.5, "step": math.nan}, "a number above 0"),
        ("model.dropout", {"low": "none", "high": 0.5}, "must be a number"),
        ("model.attention", {"low": 1, "high": 2}, "is not a number: use choices"),
        ("model.attention", {"choices": ["softmax", "hardmax"]}, "must be one of sparsemax"),
        ("model.freeze_image_encoder", {"low": 0, "high": 1}, "is not a number"),
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
    with pytest.raises(ConfigError, match=r"no search space 'nothing': .* single"):
        read_space("nothing")
