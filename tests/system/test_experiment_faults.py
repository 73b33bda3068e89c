"""What an experiment refuses, and what becomes of its processes and folds."""

import os
import signal
import subprocess
import sys
import time

import pytest
import yaml
from filelock import FileLock

from mvcn.cli.process import set_up_process
from mvcn.errors import MvcnError
from mvcn.experiments.grid import read_cells, read_experiment
from mvcn.experiments.runner import Places, run_experiment

COMMAND = [sys.executable, "-m", "mvcn", "experiment"]


def places(folder):
    return Places(folder / "results" / "tiny", folder / "runs" / "tiny")


def options(folder):
    return ["--results", str(folder / "results"), "--runs", str(folder / "runs")]


def test_workers_end_when_their_parent_is_killed(experiment_file, tmp_path):
    command = [*COMMAND, str(experiment_file), *options(tmp_path)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    log = tmp_path / "runs/tiny/mine/sparse/seed-4.log"
    wait_until(log.exists)
    worker = max(pid for child in children(process.pid) for pid in children(child))
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: not is_alive(worker))


def children(pid):
    command = ["ps", "-o", "pid=", "--ppid", str(pid)]
    return map(int, subprocess.run(command, capture_output=True, text=True).stdout.split())


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"


def wait_until(condition, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def test_two_processes_cannot_run_one_experiment(experiment_file, tmp_path):
    experiment = read_experiment(str(experiment_file))
    places(tmp_path).runs.mkdir(parents=True)
    with (
        FileLock(places(tmp_path).runs / "lock"),
        pytest.raises(MvcnError, match="is running in another process"),
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
    assert "the experiment's datasets are mine" in sentence
