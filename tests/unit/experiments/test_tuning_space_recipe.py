"""What a search writes: the table of its trials, and the recipe of the best."""

import csv

import yaml

from mvcn.config import DataConfig, read_recipe
from mvcn.experiments.tuning_space import Trial, best_of, read_space, write_recipe, write_trials

CONTENT = {
    "name": "rates",
    "recipe": "paper",
    "data": {"name": "hfm", "root": "posts"},
    "seeds": [3, 4],
    "space": {
        "training.epochs": {"low": 2, "high": 6, "step": 2},
        "objective.class_weights": {"choices": ["auto", {"positive": 2}]},
    },
}


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
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(CONTENT), "utf-8")
    space = read_space(str(tmp_path / "space.yaml"))
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
