"""``mvcn split`` on a table with duplicates, and what the other commands say to its lists."""

import csv
import json
import random

import numpy as np
import pytest
from PIL import Image

from mvcn.config import DataConfig
from mvcn.data.reading import read_posts
from mvcn.data.splits import read_ids
from mvcn.errors import DataError

WORDS = (
    "sun",
    "rain",
    "snow",
    "wind",
    "storm",
    "cloud",
    "mist",
    "hail",
    "frost",
    "heat",
    "dew",
    "ice",
    "fog",
    "sleet",
    "gale",
)


def write_csv(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "text", "image", "label"), *rows])
    return path


@pytest.fixture
def table(tmp_path):
    """Sixty posts; 0 to 3 share a text, 4 to 6 a picture (4 and 5 scaled), 7 has a bad image."""
    pick = random.Random(0)
    rows = []
    for i in range(60):
        text = "the same old words on a rainy day" if i < 4 else " ".join(pick.sample(WORDS, 9))
        rows.append([f"p{i}", f"{text} http://t.co/{i}", "", "good" if i % 3 else "bad"])
    noise = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    for i, size in enumerate([(300, 200), (150, 100), (600, 400)], start=4):
        name = rows[i][2] = f"{i}.png"
        Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(tmp_path / name)
    rows[7][2] = "missing.png"
    return write_csv(tmp_path / "posts.csv", rows)


def parts_of(folder):
    return {path.stem: read_ids(path) for path in sorted(folder.glob("*.txt"))}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_splits_a_table_and_keeps_duplicates_together(mvcn, table, tmp_path, seed):
    output = tmp_path / "splits"
    code, printed, errors = mvcn("split", "--root", table, "--output", output, "--seed", seed)
    assert code == 0, errors
    parts = parts_of(output)
    assert {name: len(ids) for name, ids in parts.items()} == {"train": 48, "dev": 6, "test": 6}
    for together in ({"p0", "p1", "p2", "p3"}, {"p4", "p5", "p6"}):
        assert any(together <= set(ids) for ids in parts.values())
    about = json.loads((output / "splits.json").read_text())
    assert about["counts"]["dev"] == {"bad": 2, "good": 4}
    assert (about["seed"], about["shares"]["train"]) == (seed, 0.8)
    assert (about["groups_of_duplicates"], about["posts_in_groups_of_duplicates"]) == (2, 7)
    lines = [line.split() for line in printed.splitlines()]
    assert ["train", "48", "16", "32"] in lines
    assert "7 posts are in 2 groups of near-duplicates" in printed
    assert "1 image could not be read" in errors
    assert "post 'p7': " in errors


def test_folds_cover_the_posts_and_have_their_own_lists(mvcn, table, tmp_path):
    output = tmp_path / "folds"
    code, printed, _ = mvcn("split", "--root", table, "--output", output, "--folds", 4)
    assert code == 0
    folds = [parts_of(output / f"fold-{k}") for k in range(4)]
    assert sorted(i for fold in folds for i in fold["dev"]) == sorted(f"p{i}" for i in range(60))
    assert all(not set(fold["train"]) & set(fold["dev"]) for fold in folds)
    assert printed.count("train") == 4
    about = json.loads((output / "fold-3" / "splits.json").read_text())
    assert about["folds"] == 4


def test_looks_at_no_image_when_duplicates_are_ignored(mvcn, table, tmp_path):
    options = ["--output", tmp_path / "s", "--ignore-duplicates", "--shares", "train=0.5,dev=0.5"]
    code, printed, errors = mvcn("split", "--root", table, *options)
    assert code == 0
    assert "image from 'image'" in errors
    assert "Images:" not in errors
    assert "near-duplicates" not in printed
    assert json.loads((tmp_path / "s/splits.json").read_text())["duplicates"] == "ignored"
    assert set(parts_of(tmp_path / "s")) == {"train", "dev"}


def test_unlabelled_and_empty_posts_are_in_no_part_and_that_is_said(mvcn, tmp_path):
    rows = [{"id": f"p{i}", "text": f"text {i}", "label": "ab"[i % 2]} for i in range(20)]
    rows += [{"id": "x", "text": "no label"}]
    rows += [{"id": f"e{i}", "text": " ", "label": "a"} for i in range(3)]
    path = tmp_path / "posts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, printed, errors = mvcn(
        "split", "--root", path, "--output", tmp_path / "s", "--shares", "train=0.5,dev=0.5"
    )
    assert code == 0, errors
    assert "1 post has no label, so it is in no split." in printed
    assert "Left out: 3 posts, without text and image." in printed
    dealt = [one for ids in parts_of(tmp_path / "s").values() for one in ids]
    assert sorted(dealt) == sorted(f"p{i}" for i in range(20))


def test_lists_are_refused_once_the_posts_have_changed(mvcn, table, tmp_path):
    output = tmp_path / "splits"
    assert mvcn("split", "--root", table, "--output", output)[0] == 0
    config = DataConfig(root=table, splits=output)
    assert [post.id for post in read_posts(config, "dev").posts] == read_ids(output / "dev.txt")
    table.write_text(table.read_text("utf-8").replace("same old", "same new"))
    with pytest.raises(DataError, match="were made for other posts"):
        read_posts(config, "dev")


def test_earlier_splits_stay_unless_they_are_to_be_replaced(mvcn, fails, table, tmp_path):
    output = tmp_path / "splits"
    options = ["split", "--root", table, "--output", output, "--ignore-duplicates"]
    assert mvcn(*options, "--folds", 4)[0] == 0
    assert "holds another set of splits: choose" in fails(*options)
    shares = "train=0.999,dev=0.001"
    assert "Split 'dev' has no posts" in fails(*options, "--overwrite", "--shares", shares)
    assert set(parts_of(output / "fold-3")) == {"train", "dev"}
    assert mvcn(*options, "--overwrite")[0] == 0
    assert set(parts_of(output)) == {"train", "dev", "test"}
    assert not list(output.glob("fold-*/*"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shares", "train=0.8,dev=0.1"], "must be above 0 and add up to 1"),
        (["--shares", "train,dev"], "write it like --shares train=0.8,dev=0.1,test=0.1"),
        (["--shares", "dev=0.5,dev=0.5"], "write it like --shares train=0.8"),
        (["--shares", "../a=0.5,dev=0.5"], "cannot be called '../a'"),
        (["--shares", "train=nan,dev=0.5"], "must be above 0 and add up to 1"),
        (["--shares", "train=0.5,dev=0.5", "--folds", 3], "either --shares or --folds"),
        (["--folds", 1], "at least 2 folds, not 1"),
        (["--folds", 30], "too few for the 30 splits"),
    ],
)
def test_says_what_is_wrong_before_it_looks_at_images(fails, table, tmp_path, options, message):
    sentence = fails("split", "--root", table, "--output", tmp_path / "s", *options)
    assert message in sentence
    assert not (tmp_path / "s").exists()


def test_refuses_a_file_for_a_folder_and_posts_without_labels(fails, table, tmp_path):
    assert "is a file: choose a new or empty folder for the set of splits" in fails(
        "split", "--root", table, "--output", table
    )
    path = write_csv(tmp_path / "new.csv", [])
    path.write_text("text\nfirst\nsecond\n")
    sentence = fails("split", "--root", path, "--output", tmp_path / "s")
    assert "has no labelled posts" in sentence
