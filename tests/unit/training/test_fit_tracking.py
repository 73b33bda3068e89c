"""What a training sends to a tracker is what its history says."""

import csv
import sys

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mvcn.errors import ConfigError
from mvcn.training.checks import check_compatibility
from mvcn.training.run import train


def scalars(folder):
    found = EventAccumulator(str(folder)).Reload()
    return {name: [one.value for one in found.Scalars(name)] for name in found.Tags()["scalars"]}


def test_losses_and_scores_are_curves_in_the_run_folder(tiny_config, tmp_path):
    run = train(tiny_config(training={"epochs": 2, "report_to": "tensorboard"}), tmp_path / "run")
    found = scalars(run.folder / "tensorboard")
    with (run.folder / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for ours, theirs in (
        ("train/loss", "loss"),
        ("train/congruity", "congruity"),
        ("eval/f1_weighted", "eval_f1_weighted"),
    ):
        expected = [float(row[theirs]) for row in rows if row.get(theirs)]
        assert len(expected) > 1
        assert found[ours] == pytest.approx(expected, rel=1e-6)


def test_each_member_has_its_own(tiny_config, tmp_path):
    settings = {"epochs": 1, "members": 2, "report_to": "tensorboard"}
    run = train(tiny_config(training=settings), tmp_path / "run")
    for member in sorted((run.folder / "tensorboard").iterdir()):
        assert scalars(member)["train/loss"]
    assert len(list((run.folder / "tensorboard").iterdir())) == 2


def test_a_tracker_that_is_not_installed_is_named(tiny_config, monkeypatch):
    monkeypatch.setitem(sys.modules, "trackio", None)
    config = tiny_config(training={"report_to": "trackio"})
    with pytest.raises(ConfigError, match=r"report_to' is trackio, .*: run pip install trackio\."):
        check_compatibility(config)
