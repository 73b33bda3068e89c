"""Published folds on the command line: one of them, and an experiment on all."""

import json

import pytest

from mvcn.data.posts import fingerprint
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
        "Left out: 1 post, listed for the published folds, but not in the dataset.",
        "Left out: 1 post, in no split of the published fold.",
        "Not used: 10 posts of the split test.",
    ):
        assert line in shown
    assert "2 posts have other labels there than in the dataset, 1 of them" in errors
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
    assert "These are the posts that" in mvcn(*evaluated, "--split", "train")[2]
    assert "published folds 1, 2: choose one by --fold" in fails("evaluate", run, *place)


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
