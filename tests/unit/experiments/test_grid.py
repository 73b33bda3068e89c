"""What an experiment's file means, and what is wrong with one that means nothing."""

from importlib import resources

import pytest
import yaml

from mvcn.config import DataConfig, read_recipe
from mvcn.errors import ConfigError
from mvcn.experiments.grid import assign_folds, cells_of, part_of, read_experiment, settings_of
from mvcn.models.registry import settings_of_model
from mvcn.plugins import VARIABLE

SHIPPED = sorted(
    path.name.removesuffix(".yaml")
    for path in (resources.files("mvcn") / "recipes" / "experiments").iterdir()
)
CONTENT = {
    "name": "two-variants",
    "seeds": [3, 1],
    "data": {"mine": {"root": "posts.csv"}, "theirs": {"name": "hfm"}},
    "variants": {"plain": None, "published": {"recipe": "paper", "training": {"epochs": 7}}},
}


def write(tmp_path, **changes):
    path = tmp_path / "experiment.yaml"
    content = {key: value for key, value in (CONTENT | changes).items() if value != "none"}
    path.write_text(yaml.safe_dump(content), "utf-8")
    return str(path)


def test_a_grid_has_each_variant_with_each_data_and_seed(tmp_path):
    cells = cells_of(read_experiment(write(tmp_path)))
    assert [(cell.seed, cell.data, cell.variant) for cell in cells] == [
        (seed, data, variant)
        for seed in (3, 1)
        for data in ("mine", "theirs")
        for variant in ("plain", "published")
    ]
    assert len({cell.path for cell in cells}) == 8
    assert all(cell.fold is None for cell in cells)


def test_a_cell_has_the_settings_of_its_recipe_and_variant(tmp_path):
    first, second = cells_of(read_experiment(write(tmp_path)))[:2]
    expected = read_recipe("default")
    expected.update({"data": CONTENT["data"]["mine"], "training": {"seed": 3}})
    assert first.config == expected
    expected = read_recipe("paper")
    expected.update({"data": CONTENT["data"]["mine"], "training": {"seed": 3, "epochs": 7}})
    assert second.config == expected


def test_all_variants_start_from_the_recipe_of_the_experiment(tmp_path):
    experiment = read_experiment(write(tmp_path, recipe="paper"))
    assert settings_of(experiment.variants["plain"]) == settings_of(read_recipe("paper"))


def test_variants_may_be_called_rows_as_in_earlier_versions(tmp_path):
    former = write(tmp_path, variants="none", rows=CONTENT["variants"])
    assert read_experiment(former) == read_experiment(write(tmp_path))


def test_folds_multiply_the_cells(tmp_path):
    cells = cells_of(read_experiment(write(tmp_path, folds=3, seeds=[0])))
    assert [cell.fold for cell in cells[:6]] == [0, 0, 1, 1, 2, 2]
    assert len({cell.path for cell in cells}) == 12


def test_published_folds_multiply_the_cells_and_evaluate_their_test_posts(tmp_path):
    cells = cells_of(read_experiment(write(tmp_path, published_folds=2, seeds=[0])))
    assert [cell.fold for cell in cells] == [1, 1, 2, 2] * 2
    assert [cell.config.data.fold for cell in cells] == [cell.fold for cell in cells]
    assert {cell.split for cell in cells} == {"test"}
    assert len({cell.path for cell in cells}) == 8
    usual = cells_of(read_experiment(write(tmp_path, folds=2)))
    assert {(cell.split, cell.config.data.fold) for cell in usual} == {("dev", None)}


def test_a_published_fold_is_not_split_into_folds(tmp_path):
    data = DataConfig(name="mvsa-single", root=tmp_path, splits=tmp_path, fold=3)
    with pytest.raises(ConfigError, match=r"data\.fold chooses the published fold 3: leave one"):
        assign_folds(data, 2, tmp_path / "folds")


def test_what_makes_a_variant_is_neither_data_nor_seed(tmp_path):
    cells = cells_of(read_experiment(write(tmp_path)))
    settings = [settings_of(cell.config) for cell in cells if cell.variant == "plain"]
    assert settings == settings[:1] * 4
    assert "data" not in settings[0]
    assert "seed" not in settings[0]["training"]


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_experiment_is_found_by_name_and_has_one(name):
    assert read_experiment(name).name == name
    assert cells_of(read_experiment(name))


def test_the_ablation_adds_one_part_at_a_time():
    objective = {
        name: settings_of(config)["objective"]
        for name, config in read_experiment("ablation").variants.items()
    }
    calibrated = [name for name, section in objective.items() if section["calibration"]]
    assert calibrated == [name for name in objective if name.startswith("mvcn")]
    assert [name for name, section in objective.items() if not section["congruity_weight"]] == [
        "mfs",
        "tgf-softmax",
        "tgf",
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"variants": {"a": None, "b": None}}, "the variants 'a' and 'b' have the same settings"),
        ({"variants": "none"}, "has no 'variants'"),
        ({"row": 1}, "has the key 'row'"),
        ({"rows": {"a": {}}}, "has the key 'rows'"),
        ({"name": "a/b"}, "'a/b' is used for a folder"),
        ({"variants": {"..": {}}}, "is used for a folder"),
        ({"variants": {}}, "'variants' must have at least one name"),
        ({"data": []}, "'data' must have at least one name"),
        ({"variants": {"a": {"modle": {}}}}, "variant 'a': There is no setting 'modle'"),
        ({"variants": {"a": {"training": {"epochs": 0}}}}, "'training.epochs' is 0"),
        ({"variants": {"a": {"data": {}}}}, "variant 'a' cannot have 'data'"),
        ({"variants": {"a": 3}}, "sections such as 'model:', but 'a' is 3"),
        ({"variants": {"a": {"recipe": "nothing"}}}, "no recipe 'nothing'"),
        ({"data": {"a": {"rot": "x"}}}, "did you mean 'data.root'"),
        ({"seeds": []}, "'seeds' must be a list of different whole numbers"),
        ({"seeds": [1, 1]}, "'seeds' must be"),
        ({"seeds": [True]}, "'seeds' must be"),
        ({"seeds": [-1]}, None),
        ({"folds": 1}, "'folds' must be a whole number of at least 2"),
        ({"folds": True}, "'folds' must be"),
        ({"published_folds": "all"}, "'published_folds' must be a whole number of at least 2"),
        (
            {"folds": 2, "published_folds": 2},
            "it has both 'folds' and 'published_folds': leave one",
        ),
        ({"published_folds": 2, "data": {"a": {"fold": 3}}}, "its data 'a' chooses fold 3: leave"),
    ],
)
def test_says_what_is_wrong_with_an_experiment(tmp_path, changes, words):
    path = write(tmp_path, **changes)
    with pytest.raises(ConfigError, match=words) as caught:
        cells_of(read_experiment(path))
    assert words is None or path in str(caught.value)


def test_a_part_has_the_chosen_variants_and_seeds(tmp_path):
    cells = cells_of(read_experiment(write(tmp_path)))
    assert part_of(cells) == cells
    some = part_of(cells, ["published"], [1])
    assert [(cell.seed, cell.data, cell.variant) for cell in some] == [
        (1, data, "published") for data in ("mine", "theirs")
    ]
    assert part_of(cells, [], [3]) == cells[:4]
    for variants, seeds, words in (
        (["publishd"], [], "--variant publishd is not in .*: did you mean 'published'"),
        (["plain", "soft"], [], "--variant soft is not in .*: choose from plain, published"),
        ([], [3, 7], "--seed 7 is not in .*: choose from 3, 1"),
    ):
        with pytest.raises(ConfigError, match=words):
            part_of(cells, variants, seeds)


def test_a_variant_starts_from_the_model_of_a_plugin(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, "")
    variants = {
        "theirs": {"recipe": "mean-tokens", "training": {"plugins": ["tests.example_plugin"]}}
    }
    found = read_experiment(write(tmp_path, variants=variants)).variants["theirs"]
    expected = settings_of_model("mean-tokens")
    expected.update({"training": {"plugins": ["tests.example_plugin"]}})
    assert found == expected
    assert found.model.network == "mean-tokens"


def test_says_which_experiments_there_are(tmp_path):
    with pytest.raises(ConfigError, match=r"no experiment 'nothing': .* ablation"):
        read_experiment("nothing")
    broken = tmp_path / "broken.yaml"
    broken.write_text("variants: [", "utf-8")
    with pytest.raises(ConfigError, match=r"broken.yaml' cannot be read as YAML"):
        read_experiment(str(broken))
