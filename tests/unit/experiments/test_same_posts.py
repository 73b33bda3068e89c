"""All cells of a dataset are evaluated on the same posts, or the experiment is refused."""

import logging

import numpy as np
import pytest
from PIL import Image

from mvcn.config import RunConfig
from mvcn.data.posts import fingerprint
from mvcn.errors import DataError, MvcnError, RunError
from mvcn.experiments.grid import CellResult, Experiment, cells_of, settings_of
from mvcn.experiments.same_posts import require_same_posts, with_fixed_splits
from mvcn.training.run_folder import training_posts


def table(tmp_path, text=lambda number: f"text {number}"):
    Image.new("RGB", (8, 8)).save(image := tmp_path / "one.png")
    rows = [f"{n},{text(n)},{'ab'[n % 2]},{image}" for n in range(40)]
    path = tmp_path / "posts.csv"
    path.write_text("\n".join(["id,text,label,image", *rows]) + "\n")
    return path


def experiment(path, *, data=None, **variants):
    variants = variants or {"plain": {}, "softmax": {"model": {"attention": "softmax"}}}
    return Experiment(
        "study",
        {"mine": RunConfig.from_mapping({"data": data or {"root": str(path)}}).data},
        {name: RunConfig.from_mapping(sections) for name, sections in variants.items()},
        seeds=(0, 1, 2),
    )


def evaluated(one):
    return [[post.id for post in training_posts(cell.config).dev] for cell in cells_of(one)]


def test_a_table_without_splits_has_one_dev_split_for_all_seeds(tmp_path, caplog):
    before = experiment(table(tmp_path))
    with caplog.at_level(logging.INFO, "mvcn"):
        fixed = with_fixed_splits(before)
    found = evaluated(fixed)
    assert len(found[0]) == 4
    assert found == found[:1] * 6
    assert len({tuple(ids) for ids in evaluated(before)}) > 1
    assert [
        text for text in map(logging.LogRecord.getMessage, caplog.records) if "dev" in text
    ] == [
        "Dataset 'mine' names no dev posts: a tenth of its posts, drawn once with seed 0, is the "
        "dev split of all variants and seeds."
    ]


def test_a_dataset_that_names_dev_posts_is_left_as_it_is(tmp_path, caplog):
    path = str(table(tmp_path))
    named = experiment(path, data={"train": path, "dev": path})
    own = experiment(path, data={"root": path, "split_seed": 7})
    assert with_fixed_splits(named) == named
    assert with_fixed_splits(own) == own
    assert not caplog.records


def test_members_that_need_no_dev_posts_are_evaluated_on_all_posts(tmp_path):
    members = {"training": {"members": 3}}
    alone = experiment(path := table(tmp_path), three=members)
    assert with_fixed_splits(alone) == alone
    among = with_fixed_splits(experiment(path, three=members, plain={}))
    assert among.data["mine"].split_seed == 0
    assert evaluated(among) == evaluated(among)[:1] * 6
    drawn = experiment(path, data={"root": str(path), "limit": 9}, three=members)
    assert with_fixed_splits(drawn).data["mine"].split_seed == 0


def test_a_draw_changes_the_training_posts_alone(tmp_path):
    path = table(tmp_path)
    one = with_fixed_splits(experiment(path, data={"root": str(path), "limit": 9}))
    assert evaluated(one) == evaluated(one)[:1] * 6
    posts = [training_posts(cell.config) for cell in cells_of(one)]
    assert {len(found.train) for found in posts} == {9}
    assert [post.id for post in posts[0].train] != [post.id for post in posts[2].train]


def test_variants_evaluated_on_other_posts_are_refused(tmp_path):
    path = table(tmp_path, lambda number: "" if number % 3 else "a text")
    one = with_fixed_splits(experiment(path, both={}, words={"model": {"network": "text-cnn"}}))
    with pytest.raises(MvcnError, match="variant 'words' would be evaluated on other posts than"):
        require_same_posts(cells_of(one), {}, has_folds=False)
    alike = with_fixed_splits(experiment(path))
    require_same_posts(cells_of(alike), {}, has_folds=False)


def test_posts_that_cannot_be_read_are_named_by_their_cell(tmp_path):
    with pytest.raises(DataError, match=r"^Cell mine/plain/seed-0: .*nothing\.csv"):
        with_fixed_splits(experiment(tmp_path / "nothing.csv"))


def test_results_of_other_posts_are_refused(tmp_path):
    one = with_fixed_splits(experiment(table(tmp_path)))
    cells = cells_of(one)
    dev = training_posts(cells[0].config).dev
    results = {tmp_path / "a.json": result(cells[0], fingerprint(dev))}
    require_same_posts(cells, results, has_folds=False)
    with pytest.raises(RunError, match=r"a\.json is of a fixed split, unlike this"):
        require_same_posts(cells, results, has_folds=True)
    results[tmp_path / "b.json"] = result(cells[1], fingerprint(dev[1:]))
    with pytest.raises(RunError, match=r"b\.json was evaluated on other posts \(1 post\)"):
        require_same_posts(cells, results, has_folds=False)


def result(cell, digest):
    return CellResult(
        "study",
        cell.variant,
        cell.data,
        cell.seed,
        cell.fold,
        ("a", "b"),
        labels=np.array([0]),
        predicted=np.array([0]),
        probabilities=np.ones((1, 2)) / 2,
        has_near_duplicate=np.array([False]),
        posts_digest=digest,
        metrics={},
        settings=settings_of(cell.config),
        seconds={},
        environment={},
    )
