"""All cells of a dataset are evaluated on the same posts, or the experiment is refused."""

import logging
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mvcn.config import RunConfig
from mvcn.data.posts import fingerprint
from mvcn.errors import BadImageError, ConfigError, DataError, MvcnError, RunError
from mvcn.experiments.grid import Experiment, cells_of, settings_of
from mvcn.experiments.results import CellResult
from mvcn.experiments.same_posts import read_test_posts, require_same_posts, with_fixed_splits
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
        require_same_posts(cells_of(one), {})
    alike = with_fixed_splits(experiment(path))
    require_same_posts(cells_of(alike), {})


def test_posts_that_cannot_be_read_are_named_by_their_cell(tmp_path):
    with pytest.raises(DataError, match=r"^Cell mine/plain/seed-0: .*nothing\.csv"):
        with_fixed_splits(experiment(tmp_path / "nothing.csv"))


def test_results_of_other_posts_are_refused(tmp_path):
    one = with_fixed_splits(experiment(table(tmp_path)))
    cells = cells_of(one)
    dev = training_posts(cells[0].config).dev
    results = {tmp_path / "a.json": result(cells[0], fingerprint(dev))}
    require_same_posts(cells, results)
    folds = [replace(cell, fold=0) for cell in cells]
    with pytest.raises(RunError, match=r"a\.json belongs to a fixed split, unlike this"):
        require_same_posts(folds, results)
    results[tmp_path / "b.json"] = result(cells[1], fingerprint(dev[1:]))
    with pytest.raises(RunError, match=r"b\.json was evaluated on other posts \(1 post\)"):
        require_same_posts(cells, results)


@pytest.fixture
def fair(mvsa_with_folds, tmp_path):
    """An experiment on two published folds, whose files may be changed."""
    place = shutil.copytree(mvsa_with_folds, tmp_path / "mvsa")
    data = {
        "name": "mvsa-single",
        "root": str(place / "MVSA_Single"),
        "splits": str(place / "FAIR" / "mvsa_single"),
    }
    both = {"both": {}, "words": {"model": {"network": "text-cnn"}}}
    return replace(experiment(None, data=data, **both), published_folds=2)


def test_published_folds_are_evaluated_on_their_test_posts(fair, tmp_path, caplog):
    assert with_fixed_splits(fair) == fair
    cells = cells_of(fair)
    results = {}
    for cell in cells:
        posts = read_test_posts(cell.config.data)
        assert [int(post.id) for post in posts] == [47 - 10 * cell.fold - k for k in range(10)]
        results[tmp_path / f"{cell.path.name}.json"] = result(cell, fingerprint(posts))
    require_same_posts(cells, results)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    with pytest.raises(RunError, match="belongs to published folds, unlike this experiment"):
        require_same_posts([replace(cell, split="dev") for cell in cells], results)
    labels = fair.data["mine"].splits / "valid_pairlist.txt"
    labels.write_text(labels.read_text().replace("\n30,1", "\n30,2").replace("\n30,0", "\n30,2"))
    with pytest.raises(RunError, match=r"seed-0-fold-1\.json was evaluated on other posts"):
        require_same_posts(cells, results)


def test_all_published_folds_are_read_before_the_first_training(fair):
    with pytest.raises(DataError, match=r"seed-0-fold-3: .* has no fold 3 .*: choose one of 1, 2"):
        require_same_posts(cells_of(replace(fair, published_folds=3)), {})
    data = {name: config.model_copy(update={"splits": None}) for name, config in fair.data.items()}
    with pytest.raises(
        ConfigError, match=r"^Cell mine/both/seed-0-fold-1: --fold 1 .* with --splits"
    ):
        require_same_posts(cells_of(replace(fair, data=data)), {})
    (fair.data["mine"].root / "data" / "28.png").unlink()
    with pytest.raises(BadImageError, match=r"seed-0-fold-1: .*28"):
        require_same_posts(cells_of(fair), {})


def test_a_post_in_several_test_splits_is_a_warning(fair, caplog):
    splits = fair.data["mine"].splits / "splits"
    moved = (splits / "test_1.txt").read_text().split()[:3]
    for name in ("train", "val", "test"):
        path = splits / f"{name}_2.txt"
        lines = [line for line in path.read_text().split() if line not in moved]
        path.write_text("\n".join([*lines, *(moved if name == "test" else [])]))
    require_same_posts(cells_of(fair), {})
    warnings = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    assert warnings == [
        "On 'mine', 3 posts are evaluated in several folds, so that intervals and p-values over "
        "posts are too small."
    ]


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
        split=cell.split,
    )
