"""Published folds on the command line: one of them, and an experiment on all."""

import json
import shutil

import numpy as np
import pytest
import yaml

from mvcn.data.posts import fingerprint
from mvcn.experiments.grid import cells_of, read_experiment
from mvcn.experiments.results import read_cells
from mvcn.experiments.same_posts import read_test_posts
from mvcn.training.run import train
from mvcn.training.run_folder import Run


@pytest.fixture(scope="module")
def place(mvsa_with_folds):
    """Options that name the dataset and the folder of its folds."""
    root, folds = mvsa_with_folds / "MVSA_Single", mvsa_with_folds / "FAIR" / "mvsa_single"
    return ["--data", "mvsa-single", "--root", str(root), "--splits", str(folds)]


def test_a_run_on_a_fold_remembers_it_and_is_evaluated_on_its_test_posts(
    place, tiny_options, tmp_path, mvcn, fails
):
    run, scores = tmp_path / "run", tmp_path / "scores.json"
    code, shown, errors = mvcn("train", *place, "--fold", 2, "--output", run, *tiny_options)
    assert code == 0, errors
    for line in (
        "Left out: 1 post, in the published folds, but not in the dataset.",
        "Left out: 1 post, in no split of the published fold.",
        "Not used: 10 posts of the split test.",
    ):
        assert line in shown
    assert "2 posts have other labels than in the dataset, 1 of them" in errors
    trained = Run(run)
    assert trained.config.data.fold == 2
    assert trained.has_learned(trained.posts.train)
    assert trained.environment["data_fingerprint"]["dev"] == fingerprint(trained.posts.dev)
    evaluated = ["evaluate", run, *place, "--fold", 2]
    code, shown, errors = mvcn(*evaluated, "--split", "test", "--json", scores)
    assert code == 0, errors
    assert "was trained on" not in errors
    matrix = json.loads(scores.read_text())["confusion_matrix"]
    assert sum(map(sum, matrix)) == 10
    assert "was trained on these posts" in mvcn(*evaluated, "--split", "train")[2]
    assert "published folds 1, 2: choose one with --fold" in fails("evaluate", run, *place)


def test_other_commands_read_a_fold_too(place, exported_run, tmp_path, mvcn):
    posts, output = place[3], tmp_path / "predictions.csv"
    options = ["--data", "mvsa-single", *place[4:], "--fold", 1]
    predict = ["predict", exported_run, posts, *options, "--split", "test", "--output", output]
    assert mvcn(*predict)[0] == 0
    ids = [line.split(",")[0] for line in output.read_text().splitlines()[1:]]
    assert ids == [str(number) for number in range(37, 27, -1)]
    code, shown, _ = mvcn("audit", *place, "--fold", 1)
    assert code == 0
    assert "train 27, dev 10, test 10" in shown
    prepared = tmp_path / "prepared"
    code, shown, errors = mvcn("prepare", *place, "--fold", 1, "--output", prepared)
    assert code == 0, errors
    assert "test: 10 posts" in shown
    explained = ["explain", exported_run, *place, "--fold", 1, "--post", "1", "--sample", 0]
    assert mvcn(*explained, "--output", tmp_path / "pictures")[0] == 0


@pytest.fixture(scope="module")
def experiment_file(tiny_settings, tmp_path_factory):
    """Logistic regressions on two published folds."""
    encoders = {name: tiny_settings[name] for name in ("text_encoder", "image_encoder")}
    content = {
        "name": "fair",
        "recipe": "logreg",
        "seeds": [0],
        "published_folds": 2,
        "data": {"mvsa-single": {"name": "mvsa-single"}},
        "variants": {"logreg": {"model": encoders | {"lower_text_layers": 0}}},
    }
    path = tmp_path_factory.mktemp("fair") / "fair.yaml"
    path.write_text(yaml.safe_dump(content), "utf-8")
    return path


def test_an_experiment_evaluates_the_test_posts_of_each_published_fold(
    place, experiment_file, tmp_path, mvcn
):
    results = tmp_path / "results"
    command = ["experiment", experiment_file, *place[2:], "--jobs", "2"]
    command += ["--results", results, "--runs", tmp_path / "runs"]
    code, _, errors = mvcn(*command)
    assert code == 0, errors
    cells = read_cells(results)
    assert [(one.fold, one.split) for one in cells] == [(1, "test"), (2, "test")]
    for one in cells:
        assert one.train_posts == 27
        assert one.metrics["accuracy"] == (one.labels == one.predicted).mean()
    _assert_as_by_hand(cells[1], experiment_file, place, tmp_path, mvcn)
    code, shown, _ = mvcn("compare", results)
    assert code == 0
    assert shown.startswith("mvsa-single, test posts of 2 published folds, 20 posts; ")
    next(results.rglob("seed-0-fold-2.json")).unlink()
    assert mvcn(*command)[0] == 0
    for one, again in zip(cells, read_cells(results), strict=True):
        assert np.array_equal(one.probabilities, again.probabilities)
        assert one.posts_digest == again.posts_digest


def _assert_as_by_hand(found, experiment_file, place, tmp_path, mvcn):
    """Train the second cell by its settings, and evaluate the run by the command."""
    _, cell = cells_of(read_experiment(str(experiment_file)))
    cell.config.update({"data": {"root": place[3], "splits": place[5]}})
    train(cell.without_export, tmp_path / "run")
    scores = tmp_path / "scores.json"
    evaluate = ["evaluate", tmp_path / "run", *place, "--fold", cell.fold, "--split", "test"]
    assert mvcn(*evaluate, "--json", scores)[0] == 0
    by_hand = json.loads(scores.read_text())
    assert found.metrics["confusion_matrix"] == by_hand["confusion_matrix"]
    likelihood = by_hand["negative_log_likelihood"]  # other threads, other last digits
    assert found.metrics["negative_log_likelihood"] == pytest.approx(likelihood, abs=1e-4)
    posts = read_test_posts(cell.config.data)
    assert [found.class_names[k] for k in found.labels] == [post.label for post in posts]
    assert found.posts_digest == fingerprint(posts)


def test_an_experiment_needs_as_many_folds_as_it_names(
    mvsa_with_folds, place, experiment_file, tmp_path, fails
):
    folds = shutil.copytree(mvsa_with_folds / "FAIR" / "mvsa_single", tmp_path / "folds")
    (folds / "splits" / "train_2.txt").unlink()
    options = ["--results", tmp_path / "results", "--runs", tmp_path / "runs"]
    sentence = fails("experiment", experiment_file, *place[2:4], "--splits", folds, *options)
    assert "has no fold 2 (splits/train_2.txt): choose one of 1." in sentence
    assert not list(tmp_path.rglob("*.json"))
    sentence = fails("experiment", experiment_file, *place[2:4], *options)
    assert sentence.endswith(
        "chooses one of the published folds: pass their folder with --splits FOLDER."
    )
