"""Runs that an earlier version saved: later ones open them and find the same probabilities.

The folders in ``saved_runs`` were written at commit 6440047, on random encoders of one layer, and
nobody writes them anew: what a later version renames has to load under its old name.
"""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch  # noqa: F401 (its own import warns, which a test that imports it would not outlive)

SAVED = Path(__file__).parent / "saved_runs"
POSTS = SAVED / "posts" / "posts.csv"


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def probabilities(row):
    return [float(value) for name, value in row.items() if name.startswith("probability_")]


@pytest.fixture(params=["mvcn", "tgf", "mfs"])
def run(request, tmp_path):
    return Path(shutil.copytree(SAVED / request.param, tmp_path / request.param))


def test_a_saved_run_gives_each_post_the_probabilities_that_it_gave_then(run, tmp_path, mvcn):
    output = tmp_path / "out.csv"
    code, _, errors = mvcn("predict", run, POSTS, "--output", output)
    assert code == 0, errors
    then, now = rows(run / "dev_predictions.csv"), rows(output)
    assert list(then) == list(now)
    for name, row in then.items():
        assert probabilities(now[name]) == pytest.approx(probabilities(row), abs=1e-6)
        assert now[name]["predicted_label"] == row["predicted"]


def test_a_saved_run_evaluates_to_the_scores_that_it_had_then(run, tmp_path, mvcn):
    code, _, errors = mvcn("evaluate", run, "--root", POSTS, "--json", tmp_path / "scores.json")
    assert code == 0, errors
    now = json.loads((tmp_path / "scores.json").read_text("utf-8"))
    then = json.loads((run / "metrics.json").read_text("utf-8"))["dev"]
    for name in ("n", "accuracy", "f1_weighted", "f1_macro", "per_class", "confusion_matrix"):
        assert now[name] == then[name]
    for name in ("negative_log_likelihood", "expected_calibration_error"):
        assert now[name] == pytest.approx(then[name], abs=1e-6)


def test_every_setting_of_a_saved_run_is_known(run):
    from mvcn.training.run_folder import Run

    settings = Run(run).config
    assert settings.data.dev == Path("dev/posts.csv")
    assert (settings.model.num_heads, settings.model.dropout) == (2, 0.1)
    assert (settings.objective.queue_size, settings.training.epochs) == (24, 8)
