"""What an experiment refuses, and what becomes of its folds."""

import pytest
import yaml
from filelock import FileLock

from mvcn.cli.process import set_up_process
from mvcn.errors import MvcnError
from mvcn.experiments.grid import read_experiment
from mvcn.experiments.results import read_cells
from mvcn.experiments.runner import Places, run_experiment


def places(folder):
    return Places(folder / "results" / "tiny", folder / "runs" / "tiny")


def options(folder):
    return ["--results", str(folder / "results"), "--runs", str(folder / "runs")]


def test_two_processes_cannot_run_one_experiment(experiment_file, tmp_path):
    experiment = read_experiment(str(experiment_file))
    places(tmp_path).runs.mkdir(parents=True)
    with (
        FileLock(places(tmp_path).runs / "lock"),
        pytest.raises(MvcnError, match="is being written by another process"),
    ):
        run_experiment(experiment, places(tmp_path), initializer=set_up_process)


def test_a_cell_that_cannot_be_trained_is_named(experiment_file, tmp_path, fails):
    content = yaml.safe_load(experiment_file.read_text())
    content["data"]["mine"]["train"] = str(tmp_path / "nothing.csv")
    path = tmp_path / "lost.yaml"
    path.write_text(yaml.safe_dump(content), "utf-8")
    sentence = fails("experiment", path, *options(tmp_path))
    assert "Error: Cell mine/soft/seed-4: " in sentence
    assert "nothing.csv" in sentence


def test_folds_predict_each_post_once_by_a_model_that_did_not_see_it(
    experiment_file, posts_table, tmp_path, mvcn
):
    content = yaml.safe_load(experiment_file.read_text())
    content |= {"name": "folds", "folds": 2, "seeds": [4]}
    content["data"] = {"mine": {}}
    del content["variants"]["soft"]
    path = tmp_path / "folds.yaml"
    path.write_text(yaml.safe_dump(content), "utf-8")
    table = posts_table / "train" / "posts.csv"
    code, _, errors = mvcn("experiment", path, "--root", f"mine={table}", *options(tmp_path))
    assert code == 0, errors
    cells = read_cells(tmp_path / "results")
    assert [cell.fold for cell in cells] == [0, 1]
    folds = tmp_path / "runs/folds/mine/folds"
    dev = [set((folds / f"fold-{k}/dev.txt").read_text().split()) for k in range(2)]
    assert sum(map(len, dev)) == len(set.union(*dev)) == sum(len(cell.labels) for cell in cells)
    for k in range(2):
        assert not dev[k] & set((folds / f"fold-{k}/train.txt").read_text().split())


@pytest.mark.parametrize("option", ["--root", "--splits"])
def test_data_of_another_name_is_refused(experiment_file, tmp_path, option, fails):
    named = f"yours={tmp_path}"
    sentence = fails("experiment", experiment_file, option, named, *options(tmp_path))
    assert "choose from mine" in sentence
