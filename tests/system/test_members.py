"""A run of several members: all posts are learned and predicted, and a kill changes nothing."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score

from mvcn.data.reading import read_training_posts
from mvcn.errors import ConfigError, RunError
from mvcn.explain.run import TrainedRun
from mvcn.inference.classifier import Classifier
from mvcn.models.network import probabilities
from mvcn.training.run import train

MEMBERS = 3
KILLED_IN_THE_LAST = """
import os, signal, sys
from pathlib import Path
from mvcn.config import read_recipe
from mvcn.training.run import train
from mvcn.training.trainer import MvcnTrainer

STARTED = os.getpid()

class Killed(MvcnTrainer):
    def training_step(self, *arguments, **options):
        if "member-3" in self.args.output_dir and self.state.global_step == 2:
            os.kill(STARTED, signal.SIGKILL)
            signal.pause()  # until this process ends, too: it might finish the member before
        return super().training_step(*arguments, **options)

import mvcn.training.fit
mvcn.training.fit.MvcnTrainer = Killed
train(read_recipe(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.fixture(scope="module", autouse=True)
def two_threads():
    """So that two members are trained at a time."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def config(tiny_config):
    return tiny_config(
        data={"dev": None},
        model={"frozen_text_layers": "all"},
        training={"members": MEMBERS, "epochs": 2, "weight_average_decay": 0.9},
    )


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    return train(config, tmp_path_factory.mktemp("members") / "run")


@pytest.fixture(scope="module")
def rows(run):
    with (run.folder / "out_of_fold_predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_labelled_post_is_a_train_post_and_predicted_out_of_fold(run, rows, config):
    read = read_training_posts(config.data, 0, lambda _: False)
    assert [row["id"] for row in rows] == [post.id for post in read.train]
    assert not read.dev
    assert run.metrics["posts"] == {"train": len(rows), "dev": 0}
    assert {row["member"] for row in rows} == {str(one + 1) for one in range(MEMBERS)}
    assert run.held_out == "out_of_fold"
    assert run.evaluation["n"] == len(rows)
    accuracy = accuracy_score([row["label"] for row in rows], [row["predicted"] for row in rows])
    assert run.evaluation["accuracy"] == pytest.approx(accuracy)
    assert "members" not in {path.name for path in run.folder.iterdir()}


def test_the_saved_model_is_the_mean_of_its_members(run):
    opened = TrainedRun(run.folder)
    model, posts = opened.model, opened.train
    with torch.inference_mode():
        tokens = model.encode(**posts.inputs(range(8)))
        whole = model.network(tokens)
    assert model.config.members == MEMBERS
    assert len({weight.data_ptr() for weight in model.text_encoders[0].parameters()}) > 0
    found = [one.label for one in Classifier.from_pretrained(run.folder).predict(posts.posts[:8])]
    rows = probabilities(whole.logits, model.config.temperature)
    assert found == [model.class_names[k] for k in rows.argmax(1)]


@pytest.mark.parametrize("weights", [{"distillation_weight": 0.5}, {"unimodal_label_weight": 1.0}])
def test_labels_of_a_fold_do_not_reach_the_member_that_predicts_it(
    config, posts_table, tmp_path, monkeypatch, weights
):
    config = config.model_copy()
    config.update({"objective": weights, "training": {"epochs": 1}, "data": {"train": None}})
    table = posts_table / "train" / "posts.csv"
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    folds = np.arange(len(rows)) % MEMBERS
    monkeypatch.setattr("mvcn.training.run.assign_folds", lambda *_: folds)
    first = [row for row, fold in zip(rows, folds, strict=True) if not fold]
    found = []
    for name in ("true", "other"):
        if name == "other":
            for row in first:
                other = "negative" if row["label"] != "negative" else "positive"
                row["label"] = row["text_label"] = other
        with (tmp_path / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        config.update({"data": {"train": tmp_path / f"{name}.csv", "images": table.parent}})
        found.append(_logits(train(config, tmp_path / name).folder)[folds == 0])
    assert len(np.unique(found[0].round(6), axis=0)) > 1
    np.testing.assert_allclose(*found, atol=1e-5)


def _logits(folder):
    """Return the out-of-fold logits of a run, of mean 0 and of the same length for all posts."""
    with (folder / "out_of_fold_predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name.startswith("probability_")]
    logits = np.log([[float(row[name]) for name in names] for row in rows])
    centred = logits - logits.mean(1, keepdims=True)
    return centred / np.linalg.norm(centred, axis=1, keepdims=True)


def assert_same_run(one, other):
    weights = [load_file(run.folder / "model.safetensors") for run in (one, other)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    for name in ("out_of_fold", "calibration", "baselines"):
        assert one.metrics[name] == other.metrics[name]


def test_members_trained_at_once_are_those_trained_one_by_one(config, run, tmp_path):
    torch.set_num_threads(1)
    try:
        assert_same_run(train(config, tmp_path / "run"), run)
    finally:
        torch.set_num_threads(2)


def test_a_run_killed_within_a_member_resumes_to_the_same_weights(config, run, tmp_path):
    (tmp_path / "recipe.yaml").write_text(config.to_yaml())
    folder = tmp_path / "run"
    command = [sys.executable, "-c", KILLED_IN_THE_LAST, tmp_path / "recipe.yaml", folder]
    two = {**os.environ, "OMP_NUM_THREADS": "2"}
    killed = subprocess.run(command, check=False, capture_output=True, env=two)
    assert killed.returncode == -9
    wait_for_the_end_of(folder)
    finished = {path.parent.name for path in folder.glob("members/*/member.safetensors")}
    assert finished
    assert "member-3" not in finished
    assert_same_run(train(config, folder, resume=True), run)


def wait_for_the_end_of(folder):
    """Wait until no copy of a killed process trains into a folder."""
    command = ["pgrep", "-f", str(folder)]
    until = time.monotonic() + 30
    while subprocess.run(command, check=False, capture_output=True).returncode == 0:
        assert time.monotonic() < until, "copies of the killed process live on"
        time.sleep(0.1)


def test_a_member_that_is_killed_is_named_and_resumed(config, run, tmp_path, monkeypatch):
    started = os.getpid()

    def die(self, *arguments, **options):
        assert os.getpid() != started
        os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr("mvcn.training.trainer.MvcnTrainer.training_step", die)
        with pytest.raises(RunError, match="trains a member was killed"):
            train(config, tmp_path / "run")
    assert_same_run(train(config, tmp_path / "run", resume=True), run)


def test_an_error_in_a_member_is_the_error_of_the_training(config, tmp_path, monkeypatch):
    def fail(self, *arguments, **options):
        raise ConfigError("what is wrong with member 1")

    monkeypatch.setattr("mvcn.training.trainer.MvcnTrainer.training_step", fail)
    with pytest.raises(ConfigError, match="what is wrong with member 1"):
        train(config, tmp_path / "run")


def test_a_dev_split_is_scored_and_selects_nothing(config, run, posts_table, tmp_path):
    with_dev = config.model_copy(deep=True)
    with_dev.update({"data": {"dev": str(posts_table / "dev" / "posts.csv")}})
    found = train(with_dev, tmp_path / "run")
    assert found.metrics["out_of_fold"] == run.metrics["out_of_fold"]
    assert found.metrics["calibration"] == run.metrics["calibration"]
    rows = found.predictions("dev")
    right = [row["label"] == row["predicted"] for row in rows]
    assert found.metrics["dev"]["accuracy"] == pytest.approx(np.mean(right))
    evaluated = Classifier.from_pretrained(found.folder).evaluate(found.posts.dev).evaluation
    assert evaluated.accuracy == pytest.approx(np.mean(right))


def test_baselines_are_evaluated_on_the_same_posts_and_come_first_in_the_card(run, rows):
    found = run.metrics["baselines"]
    assert list(found["scores"]) == ["majority", "text", "image", "both"]
    assert found["posts"] == {"train": len(rows), "held_out": len(rows)}
    most = max(Counter(row["label"] for row in rows).values())
    assert found["scores"]["majority"]["accuracy"] == pytest.approx(most / len(rows))
    for one in found["scores"].values():
        assert one["gain"] == pytest.approx(run.evaluation["accuracy"] - one["accuracy"])
    assert found["conclusion"][-1].startswith("What more posts give, by the learning curve of a")
    card = (run.folder / "README.md").read_text()
    assert 0 < card.index("always saying") < card.index("## Compared with baselines")
    assert card.index("| linear model on text alone |") < card.index("## Data")


def test_the_card_says_how_the_scores_were_made(run):
    card = (run.folder / "README.md").read_text()
    assert f"- {MEMBERS} members, each trained" in card
    assert "## Scores on posts out of fold" in card
    assert json.loads((run.folder / "metrics.json").read_text())["members"] == MEMBERS
