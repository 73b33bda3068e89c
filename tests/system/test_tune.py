"""A search for settings: each trial once, the same after a kill, and a recipe that can be used."""

import csv
import itertools
import time

import pytest
import yaml
from filelock import FileLock

from mvcn.config import DataConfig, read_recipe
from mvcn.data.reading import read_training_posts
from mvcn.errors import MvcnError
from mvcn.experiments import tuning
from mvcn.experiments.tuning import tune
from mvcn.experiments.tuning_space import read_space
from mvcn.training.run_folder import Run
from tests.processes import start_copy

TRIALS = 3


@pytest.fixture(scope="module")
def content(tiny_config, tmp_path_factory):
    """A search over a tiny model, as the mapping that its file holds."""
    sections = tiny_config(training={"epochs": 2}).to_mapping()
    posts = sections.pop("data")
    data = {name: posts[name] for name in ("train", "dev")}
    del sections["training"]["seed"]
    recipe = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(sections), "utf-8")
    return {
        "name": "tiny",
        "recipe": str(recipe),
        "data": data,
        "space": {
            "training.fusion_learning_rate": {"low": 3e-3, "high": 3e-2, "log": True},
            "model.attention": {"choices": ["softmax", "sparsemax"]},
        },
    }


@pytest.fixture(scope="module")
def space_file(content, tmp_path_factory):
    path = tmp_path_factory.mktemp("space") / "tiny.yaml"
    path.write_text(yaml.safe_dump(content), "utf-8")
    return path


@pytest.fixture(scope="module")
def uninterrupted(space_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted") / "a {b}%20 ?c#d"  # no path is special
    tune(read_space(str(space_file)), folder, TRIALS)
    return folder


def rows(folder):
    """The table of trials, without what the clock says."""
    with (folder / "trials.csv").open(newline="", encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def settings(folder):
    return yaml.safe_load((folder / "best.yaml").read_text("utf-8"))


def wait_until(condition, process):
    end = time.monotonic() + 120
    while not condition():
        assert process.is_alive(), "the search has ended"
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_only_the_run_of_the_best_trial_is_kept(uninterrupted):
    table = rows(uninterrupted)
    assert [row["number"] for row in table] == ["0", "1", "2"]
    best = max(table, key=lambda row: float(row["value"]))
    runs = uninterrupted / "runs"
    assert [path.name for path in runs.iterdir()] == [f"trial-{best['number']}"]
    report = Run(runs / f"trial-{best['number']}" / "seed-0").metrics
    assert report["dev"]["f1_weighted"] == float(best["value"])
    assert "epoch 2 of 2" in (runs / f"trial-{best['number']}" / "seed-0.log").read_text()


def test_the_recipe_gives_the_score_that_it_states(uninterrupted, content, tmp_path):
    from mvcn.training.run import train

    config = read_recipe(str(uninterrupted / "best.yaml"))
    config.update({"data": content["data"]})
    value = train(config, tmp_path / "run").metrics["dev"]["f1_weighted"]
    assert value == pytest.approx(max(float(row["value"]) for row in rows(uninterrupted)))
    assert f"weighted F1 {100 * value:.1f} on dev, seed 0" in (
        uninterrupted / "best.yaml"
    ).read_text("utf-8")


def assert_same(folder, its):
    """Scores may differ in the last digits between processes of other numbers of threads."""
    for row, expected in zip(rows(folder), rows(its), strict=True):
        assert float(row.pop("value")) == pytest.approx(float(expected.pop("value")))
        assert row == expected
    assert settings(folder) == settings(its)
    assert sorted(path.name for path in (folder / "runs").iterdir()) == sorted(
        path.name for path in (its / "runs").iterdir()
    )


def test_killed_in_the_middle_of_a_trial_it_ends_as_if_it_had_not_been(
    uninterrupted, space_file, tmp_path
):
    folder = tmp_path / "search"
    process = start_copy(tune, read_space(str(space_file)), folder, TRIALS)
    checkpoints = folder / "runs/trial-1/seed-0/checkpoints"
    wait_until(lambda: any(checkpoints.glob("*/complete")), process)
    process.kill()
    process.join()
    assert len(rows(folder)) == 1
    tune(read_space(str(space_file)), folder, TRIALS)
    assert_same(folder, uninterrupted)


def test_cut_anywhere_it_ends_as_if_it_had_not_been(
    uninterrupted, space_file, tmp_path, monkeypatch
):
    space, folder = read_space(str(space_file)), tmp_path / "search"
    places = [
        ("_suggest", 1, "before"),  # a trial without settings
        ("train", 1, "before"),
        ("train", 1, "after"),  # a finished run that no one has been told of
        ("_settle", 2, "before"),  # a trial that no file tells of
        ("write_recipe", 1, "before"),
        ("_settle", 2, "after"),
    ]
    for name, call, moment in places:
        with monkeypatch.context() as patch:
            patch.setattr(tuning, name, cut(name, call, moment))
            with pytest.raises(KeyboardInterrupt):
                tune(space, folder, TRIALS)
    tune(space, folder, TRIALS)
    assert_same(folder, uninterrupted)


def cut(name, call, moment):
    """Return the function of that name, which is interrupted before or after its nth call."""
    original, calls = getattr(tuning, name), itertools.count(1)

    def interrupted(*arguments, **options):
        is_due = next(calls) == call
        if is_due and moment == "before":
            raise KeyboardInterrupt
        result = original(*arguments, **options)
        if is_due:
            raise KeyboardInterrupt
        return result

    return interrupted


def test_a_finished_search_is_shown_and_can_be_made_longer(uninterrupted, space_file):
    space, before = read_space(str(space_file)), rows(uninterrupted)
    outcome = tune(space, uninterrupted, TRIALS)
    assert rows(uninterrupted) == before
    assert outcome.counts == {"complete": TRIALS}
    assert all(Run(run).is_finished for run in outcome.runs)
    outcome = tune(space, uninterrupted, TRIALS + 1)
    assert rows(uninterrupted)[:TRIALS] == before
    assert len(rows(uninterrupted)) == TRIALS + 1


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"metric": "accuracy"}, "metric"),
        ({"seeds": [1]}, "seeds"),
        ({"space": {"training.epochs": {"low": 1, "high": 2}}}, "space"),
        ({"data": "dev"}, "data, posts"),
    ],
)
def test_another_search_in_the_same_folder_is_refused(
    uninterrupted, content, tmp_path, changes, named
):
    if "data" in changes:
        changes = {"data": content["data"] | {"train": content["data"]["dev"]}}
    path = tmp_path / "other.yaml"
    path.write_text(yaml.safe_dump(content | changes), "utf-8")
    with pytest.raises(MvcnError, match=rf"started with other settings \({named}\)"):
        tune(read_space(str(path)), uninterrupted, TRIALS)


def test_folders_of_other_things_are_left_alone(space_file, tmp_path):
    space = read_space(str(space_file))
    (tmp_path / "letter.txt").touch()
    with pytest.raises(MvcnError, match="holds other files: choose a new or empty folder"):
        tune(space, tmp_path, 1)
    (tmp_path / "study.db").write_text("this is no data base" * 100)
    with pytest.raises(MvcnError, match="cannot be read as a study"):
        tune(space, tmp_path, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["letter.txt", "lock", "study.db"]


def test_two_processes_cannot_run_one_search(space_file, uninterrupted):
    with (
        FileLock(uninterrupted / "lock"),
        pytest.raises(MvcnError, match="is being written by another process"),
    ):
        tune(read_space(str(space_file)), uninterrupted, 1)


def test_settings_that_cannot_be_trained_fail_their_trial_alone(content, tmp_path):
    rates = {"training.fusion_learning_rate": {"choices": [1e-3, 1e30]}}
    path = tmp_path / "space.yaml"
    path.write_text(yaml.safe_dump(content | {"space": rates}), "utf-8")
    outcome = tune(read_space(str(path)), tmp_path / "search", 3)
    table = rows(tmp_path / "search")
    failed = [row for row in table if row["state"] == "failed"]
    assert len(table) == 3
    assert 0 < len(failed) == outcome.counts["failed"] < 3
    assert {row["training.fusion_learning_rate"] for row in failed} == {"1e+30"}
    assert all("lower training.encoder_learning_rate" in row["reason"] for row in failed)


def test_folds_are_averaged_over_all_posts(content, posts_table, tmp_path, mvcn):
    changes = {"folds": 2, "seeds": [4], "metric": "accuracy", "data": {}}
    path, folder = tmp_path / "space.yaml", tmp_path / "search"
    path.write_text(yaml.safe_dump(content | changes), "utf-8")
    table = posts_table / "train" / "posts.csv"
    code, out, err = mvcn("tune", path, "--root", table, "--trials", 1, "--output", folder)
    assert code == 0, err
    assert "Best of 1 trial (1 complete): accuracy" in out
    assert "so it is optimistic" in out
    bars = {line.split(":")[0] for line in err.replace("\r", "\n").splitlines() if "%|" in line}
    assert bars <= {"tiny", "Images"}, "trials print bars of their own"
    (row,) = rows(folder)
    runs = [folder / f"runs/trial-0/seed-4-fold-{fold}" for fold in (0, 1)]
    scores = [Run(run).metrics["dev"]["accuracy"] for run in runs]
    assert float(row["value"]) == pytest.approx(sum(scores) / 2)
    evaluated = [{post["id"] for post in Run(run).predictions()} for run in runs]
    posts = read_training_posts(DataConfig(root=table), 0)
    assert not evaluated[0] & evaluated[1]
    assert evaluated[0] | evaluated[1] == {post.id for post in [*posts.train, *posts.dev]}


def test_posts_that_cannot_be_read_end_the_search(content, tmp_path, fails):
    data = content["data"] | {"train": str(tmp_path / "nothing.csv")}
    path = tmp_path / "space.yaml"
    path.write_text(yaml.safe_dump(content | {"data": data}), "utf-8")
    sentence = fails("tune", path, "--trials", 2, "--output", tmp_path / "search")
    assert "nothing.csv" in sentence
