"""An experiment's cells: each once, the same after a kill, and by the data that they name."""

import copy
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import yaml

from mvcn.cli.process import set_up_process
from mvcn.config import DataConfig
from mvcn.data.posts import fingerprint
from mvcn.data.reading import read_training_posts
from mvcn.errors import ConfigError, PluginError
from mvcn.experiments.grid import cells_of, read_experiment
from mvcn.experiments.results import read_cell, read_cells
from mvcn.experiments.runner import Places, run_experiment
from mvcn.plugins import VARIABLE

MVCN = [sys.executable, "-m", "mvcn"]
TIMELESS = [
    field.name
    for field in dataclasses.fields(read_cell.__annotations__["return"])
    if field.name not in ("seconds", "processor_seconds", "was_resumed", "environment")
]


def places(folder):
    return Places(folder / "results" / "tiny", folder / "runs" / "tiny")


def options(folder):
    return ["--results", str(folder / "results"), "--runs", str(folder / "runs")]


@pytest.fixture(scope="module")
def uninterrupted(experiment_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    experiment = read_experiment(str(experiment_file))
    run_experiment(experiment, places(folder), jobs=2, initializer=set_up_process)
    return folder


def assert_same(one, other):
    for cell, its in zip(one, other, strict=True):
        for name in TIMELESS:
            assert np.array_equal(getattr(cell, name), getattr(its, name)), name


def test_each_cell_leaves_one_result_and_no_run(uninterrupted, experiment_file):
    cells = read_cells(places(uninterrupted).results)
    assert [(c.variant, c.seed) for c in cells] == [("soft", 4), ("sparse", 4)]
    assert not list(places(uninterrupted).runs.rglob("model.safetensors"))
    logs = list(places(uninterrupted).runs.rglob("*.log"))
    assert len(logs) == 2
    assert all("epoch 2" in log.read_text() for log in logs)


def test_a_cell_is_what_training_by_hand_gives(uninterrupted, experiment_file, tmp_path):
    from mvcn.training.run import train

    cell = next(c for c in cells_of(read_experiment(str(experiment_file))) if c.variant == "soft")
    by_hand = train(cell.config, tmp_path / "run").metrics
    found = read_cell((places(uninterrupted).results / cell.path).with_suffix(".json"))
    assert found.metrics["confusion_matrix"] == by_hand["dev"]["confusion_matrix"]
    likelihood = by_hand["dev"]["negative_log_likelihood"]  # other threads, other last digits
    assert found.metrics["negative_log_likelihood"] == pytest.approx(likelihood, abs=1e-5)
    dev = read_training_posts(cell.config.data, 0).dev
    assert [found.class_names[k] for k in found.labels] == [post.label for post in dev]
    assert found.metrics["accuracy"] == pytest.approx((found.labels == found.predicted).mean())


def test_killed_in_the_middle_of_a_cell_it_ends_with_the_same_results(
    uninterrupted, experiment_file, tmp_path, mvcn
):
    """SIGKILL to the command alone: its workers must end by themselves and not train on."""
    command = ["experiment", str(experiment_file), "--jobs", "2", *options(tmp_path)]
    process = subprocess.Popen([*MVCN, *command], stderr=subprocess.DEVNULL)
    checkpoints = tmp_path / "runs/tiny/mine/sparse/seed-4/checkpoints"
    wait_until(lambda: any(checkpoints.glob("*/complete")))
    workers = [pid for child in children(process.pid) for pid in children(child)]
    assert workers
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: not any(map(is_alive, workers)))
    assert not list((tmp_path / "results").rglob("sparse/*.json"))
    code, _, errors = mvcn(*command)
    assert code == 0, errors
    found = read_cells(tmp_path / "results")
    assert_same(found, read_cells(places(uninterrupted).results))
    (resumed,) = (one for one in found if (one.variant, one.seed) == ("sparse", 4))
    assert resumed.was_resumed
    assert resumed.training_seconds is None  # those before the signal are not known


def children(pid):
    command = ["ps", "-o", "pid=", "--ppid", str(pid)]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return map(int, found.split())


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


def test_finished_cells_are_not_trained_again(uninterrupted, experiment_file, tmp_path):
    folder = shutil.copytree(uninterrupted, tmp_path / "copy")
    paths = sorted(places(folder).results.rglob("*.json"))
    paths[0].unlink()
    before = {path: path.stat().st_mtime_ns for path in paths[1:]}
    experiment = read_experiment(str(experiment_file))
    assert paths == sorted(
        run_experiment(experiment, places(folder), jobs=2, initializer=set_up_process)
    )
    assert {path: path.stat().st_mtime_ns for path in paths[1:]} == before
    assert_same(read_cells(folder / "results"), read_cells(places(uninterrupted).results))


def test_a_result_of_other_settings_is_neither_kept_nor_overwritten(
    uninterrupted, experiment_file, tmp_path, fails
):
    content = yaml.safe_load(experiment_file.read_text())
    content["variants"]["soft"]["training"]["epochs"] = 1
    changed = tmp_path / "changed.yaml"
    changed.write_text(yaml.safe_dump(content), "utf-8")
    sentence = fails("experiment", changed, *options(uninterrupted))
    assert "was made with other settings (training.epochs): delete it" in sentence


def test_a_variant_that_cannot_be_trained_is_refused_before_the_others_are(
    experiment_file, tmp_path
):
    content = yaml.safe_load(experiment_file.read_text())
    content["variants"]["soft"]["objective"]["label_contrast_weight"] = 0.1
    changed = tmp_path / "changed.yaml"
    changed.write_text(yaml.safe_dump(content), "utf-8")
    with pytest.raises(ConfigError, match=r"Cell mine/soft/.*'objective.label_contrast_weight'"):
        run_experiment(read_experiment(str(changed)), places(tmp_path), initializer=set_up_process)
    assert list(tmp_path.iterdir()) == [changed]


def test_a_variant_whose_plugin_is_not_there_is_refused_before_the_others_are(
    experiment_file, tmp_path, monkeypatch
):
    monkeypatch.setenv(VARIABLE, "")
    experiment = read_experiment(str(experiment_file))
    experiment.variants["soft"].training.plugins = ["nowhere"]
    with pytest.raises(PluginError, match="Cell mine/soft/seed-4: There is no module 'nowhere'"):
        run_experiment(experiment, places(tmp_path), initializer=set_up_process)
    assert list(tmp_path.iterdir()) == []


def test_one_variant_and_seed_are_run_alone(uninterrupted, experiment_file, tmp_path, mvcn, fails):
    shutil.copytree(uninterrupted, tmp_path / "copy")
    command = ["experiment", experiment_file, *options(tmp_path / "copy")]
    left = places(tmp_path / "copy").results / "mine/soft"
    shutil.rmtree(left.parent / "sparse")
    code, shown, _ = mvcn(*command, "--variant", "soft", "--seed", "4")
    assert (code, shown.split(" in ")[0]) == (0, "1 result is")
    assert [path.parent for path in left.parent.rglob("*.json")] == [left]
    assert "choose from soft, sparse" in fails(*command, "--variant", "other").replace("'", "")


def test_a_part_is_evaluated_on_the_posts_of_the_entire_experiment(
    experiment_file, posts_table, tmp_path
):
    posts = posts_table / "train" / "posts.csv"
    content = yaml.safe_load(experiment_file.read_text())
    content["data"] = {"mine": {"root": str(posts)}}
    content["variants"] = {"alone": content["variants"]["sparse"]}
    content["variants"]["alone"]["training"]["epochs"] = 1
    members = copy.deepcopy(content["variants"]["alone"])
    members["training"]["members"] = 2  # which, without the other variant, need no dev posts
    content["variants"]["members"] = members
    (tmp_path / "mixed.yaml").write_text(yaml.safe_dump(content))
    experiment = read_experiment(str(tmp_path / "mixed.yaml"))
    part = (["members"], [])
    (path,) = run_experiment(experiment, places(tmp_path), part, initializer=set_up_process)
    dev = read_training_posts(DataConfig(root=posts), 0).dev
    assert read_cell(path).posts_digest == fingerprint(dev)


def test_results_are_plain_json(uninterrupted):
    path = next(places(uninterrupted).results.rglob("*.json"))
    content = json.loads(path.read_text())
    assert content["settings"]["training"]["epochs"] == 2
    assert content["environment"]["packages"]["torch"]


def test_results_are_compared_and_written_once(uninterrupted, tmp_path, mvcn, fails):
    command = ["compare", str(places(uninterrupted).results)]
    _, shown, _ = mvcn(*command)
    assert "| soft | 1 |" in shown
    assert "sparse against soft" in shown
    table = tmp_path / "table.tex"
    again = [*command, "--format", "latex", "--output", str(table)]
    assert mvcn(*again)[0] == 0
    assert table.read_text().count(r"\toprule") == 2
    assert "table.tex exists: choose another file" in fails(*again)


def test_a_comparison_replaces_only_tables_of_its_own(uninterrupted, tmp_path, mvcn, fails):
    output = tmp_path / "output"
    command = ["compare", places(uninterrupted).results, "--output", output, "--overwrite"]
    for form in ("markdown", "latex", "csv", "markdown"):
        assert mvcn(*command, "--format", form)[0] == 0
    output.write_text("years of work")
    assert "is not a file of tables by mvcn compare" in fails(*command)
    assert output.read_text() == "years of work"


@pytest.fixture(scope="module")
def draws(experiment_file, posts_table, tmp_path_factory):
    """The folder of an experiment on a table without splits: two draws of two numbers of posts."""
    folder = tmp_path_factory.mktemp("draws")
    content = yaml.safe_load(experiment_file.read_text())
    del content["variants"]["soft"]
    posts = {"root": str(posts_table / "train" / "posts.csv")}
    content |= {"seeds": [0, 1], "data": {"few": posts | {"limit": 20}, "all": posts}}
    (path := folder / "curve.yaml").write_text(yaml.safe_dump(content), "utf-8")
    run_experiment(read_experiment(str(path)), places(folder), jobs=2, initializer=set_up_process)
    return folder


def test_seeds_share_one_split_of_a_table_without_splits_so_that_they_compare(draws, mvcn):
    cells = read_cells(places(draws).results)
    assert len({cell.posts_digest for cell in cells}) == 1
    assert sorted(cell.train_posts for cell in cells if cell.data == "few") == [20] * 2
    code, shown, errors = mvcn("compare", places(draws).results)
    assert code == 0, errors
    assert shown.startswith("Learning curve of few, all: ")


def test_a_learning_curve_is_drawn(draws, mvcn):
    figure = draws / "curve.png"
    assert mvcn("compare", places(draws).results, "--figure", figure)[0] == 0
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_a_resumed_experiment_says_how_long_the_others_take(draws, mvcn):
    for path in sorted(places(draws).results.rglob("seed-1.json"))[:1]:
        path.unlink()
    code, _, errors = mvcn("experiment", draws / "curve.yaml", *options(draws))
    assert code == 0, errors
    assert "tiny: the 1 other cell takes about " in errors
    assert "tiny: 4 of 4 cells finished; " in errors
    assert "names no dev posts: a tenth of its posts, drawn once with seed 0" in errors
    assert not list(draws.rglob("*.epoch"))
