"""Published folds: which posts and labels they give, and what is wrong with broken ones."""

import logging
import shutil

import pytest

from mvcn.audit.findings import read_audited_posts
from mvcn.config import RunConfig
from mvcn.data.reading import read_all, read_posts, read_training_posts
from mvcn.errors import ConfigError, DataError, MvcnError

LEFT_OUT = {
    "contradictory": ("49",),
    "in the published folds, but not in the dataset": ("50",),
    "in no split of the published fold": ("48",),
}


@pytest.fixture
def folds(mvsa_with_folds, tmp_path):
    """A copy of the folder of folds, to be changed."""
    return shutil.copytree(mvsa_with_folds / "FAIR" / "mvsa_single", tmp_path / "mvsa_single")


@pytest.fixture
def settings(mvsa_with_folds):
    """Return a function from changes to the settings of the first fold."""
    usual = {
        "name": "mvsa-single",
        "root": str(mvsa_with_folds / "MVSA_Single"),
        "splits": str(mvsa_with_folds / "FAIR" / "mvsa_single"),
        "fold": 1,
    }
    return lambda **changes: RunConfig.from_mapping({"data": usual | changes}).data


def ids(posts):
    return [int(post.id) for post in posts]


def test_a_fold_gives_the_posts_of_each_split_in_its_order(settings):
    for fold, first in ((1, 37), (2, 27)):
        found = read_training_posts(settings(fold=fold), 0)
        assert ids(read_posts(settings(fold=fold), "test").posts) == [*range(first, first - 10, -1)]
        assert ids(found.dev) == [*range(first - 10, first - 20, -1)]
        assert ids(found.train) == [*range(first - 20, 0, -1), *range(47, first, -1)]
        assert found.removed == LEFT_OUT
        assert found.unused_splits == {"test": 10}


@pytest.mark.parametrize("split", ["dev", "val", "validation"])
def test_dev_is_found_by_any_of_its_names(settings, split):
    corpus = read_posts(settings(), split)
    assert ids(corpus.posts) == [*range(27, 17, -1)]
    assert corpus.other_splits == {"train": 27, "test": 10}


def test_all_posts_of_the_fold_say_their_split(settings):
    everything = read_all(settings())
    assert everything == read_posts(settings())
    by_split = {
        split: [one for one in everything.posts if one.split == split]
        for split in ("train", "dev", "test")
    }
    audited = read_audited_posts(settings())
    for split, posts in by_split.items():
        assert posts == read_posts(settings(), split).posts
        assert [audited.posts[i] for i in audited.splits[split]] == posts
    assert sum(map(len, by_split.values())) == len(everything.posts) == 47


def test_labels_are_those_of_the_list_and_differences_are_counted(settings, caplog):
    with caplog.at_level(logging.INFO, "mvcn"):
        found = {post.id: post for post in read_posts(settings()).posts}
    own = {post.id: post for post in read_posts(settings(splits=None, fold=None)).posts}
    labels = {
        post_id: [(post.label, post.text_label, post.image_label) for post in (own[post_id], post)]
        for post_id, post in found.items()
    }
    assert {post_id for post_id, (before, after) in labels.items() if before != after} == {"1", "2"}
    assert labels["1"][1] == ("negative", "neutral", "negative")
    assert labels["2"] == [("negative",) * 3, ("negative", "negative", "neutral")]
    assert found["3"].text == own["3"].text
    where = settings().splits / "valid_pairlist.txt"
    assert [record.getMessage() for record in caplog.records] == [
        f"{where}: 2 posts have other labels than in the dataset, 1 of them for the whole "
        "post; those of the list are used.",
        f"{where}: 2 posts are left out, because the dataset does not have 1 and removes 1 by its "
        "own rules.",
    ]


def test_any_kind_of_dataset_with_the_ids_will_do(settings, tmp_path, caplog):
    rows = [f"{number},text {number}" for number in range(1, 51)]
    (path := tmp_path / "posts.csv").write_text("\n".join(["id,text", *rows, ""]))
    with caplog.at_level(logging.INFO, "mvcn.data.published_folds"):
        corpus = read_posts(settings(name="table", root=str(path)), "train")
    assert {post.label for post in corpus.posts} <= {"neutral", "positive", "negative"}
    assert corpus.class_names == ("neutral", "positive", "negative")
    assert corpus.removed == {"in no split of the published fold": ("48",)}
    assert not caplog.records


def test_a_dataset_of_other_posts_or_classes_is_refused(settings, tmp_path):
    path = tmp_path / "posts.csv"
    path.write_text("id,text,label\na,one,x\nb,two,y\n")
    table = settings(name="table", root=str(path))
    with pytest.raises(DataError, match=r"posts\.csv has none of the posts in .*pairlist\.txt"):
        read_posts(table)
    path.write_text("id,text,label\n1,one,negative\n2,two,positive\n3,three,neutral\n")
    assert len(read_posts(table).posts) == 3
    path.write_text("id,text,label\n1,one,0\n2,two,1\n")
    with pytest.raises(
        DataError, match=r"has the label 'negative', but the classes of .* are 0, 1"
    ):
        read_posts(table)


def test_folds_are_named_by_splits_and_fold_together(settings, tmp_path):
    with pytest.raises(
        ConfigError, match=r"holds the published folds 1, 2: choose one with --fold"
    ):
        read_training_posts(settings(fold=None), 0)
    with pytest.raises(ConfigError, match=r"^--fold 1 \(data\.fold\) .* folder with --splits"):
        read_training_posts(settings(splits=None), 0)
    with pytest.raises(
        DataError, match=r"has no fold 3 \(splits/train_3\.txt\): choose one of 1, 2"
    ):
        read_training_posts(settings(fold=3), 0)
    for split in ("train", "dev"):
        (tmp_path / f"{split}.txt").write_text("1\n")
    with pytest.raises(ConfigError, match=r"has no valid_pairlist\.txt, .*: leave out --fold"):
        read_training_posts(settings(splits=str(tmp_path)), 0)
    with pytest.raises(
        ConfigError, match=r"--splits only works with --root: leave out --train or --splits"
    ):
        read_training_posts(settings(root=None, train="posts.csv"), 0)


def change(path, line, text):
    lines = path.read_text().split("\n")
    lines[line - 1] = text
    path.write_text("\n".join(lines))


@pytest.mark.parametrize(
    ("file", "line", "text", "words"),
    [
        ("valid_pairlist.txt", 3, "45,1,0", "line 3: '45,1,0' must be a post's id and the labels"),
        ("valid_pairlist.txt", 3, "45,1,0,3", "line 3: '45,1,0,3' must be"),
        ("valid_pairlist.txt", 3, "45,1,0,", "line 3: '45,1,0,' must be"),
        ("valid_pairlist.txt", 3, ",1,0,1", "line 3: ',1,0,1' must be"),
        ("valid_pairlist.txt", 3, "id,label", "line 3: 'id,label' must be"),
        ("valid_pairlist.txt", 3, "47,1,1,1", "line 3: post 47 is already on line 1"),
        ("splits/train_1.txt", 2, "x", "line 2: 'x' must be the number of a post's line in"),
        ("splits/train_1.txt", 2, "-1", "line 2: '-1' must be .*, from 0 to 48"),
        ("splits/train_1.txt", 2, "49", "line 2: '49' must be"),
        ("splits/train_1.txt", 2, "²", "line 2: '²' must be"),
        ("splits/train_1.txt", 2, "9" * 5000, "line 2: '9{80}' must be"),
        ("splits/val_1.txt", 2, "20", r"line 2: post 27 is also in .*val_1\.txt, line 1"),
        ("splits/test_1.txt", 2, "20", r"test_1\.txt, line 2: post 27 is also in .*val_1\.txt"),
        (
            "splits/test_1.txt",
            2,
            "30",
            r"test_1\.txt, line 2: post 17 is also in .*train_1\.txt, line 1",
        ),
    ],
)
def test_a_wrong_line_is_named(settings, folds, file, line, text, words):
    change(folds / file, line, text)
    with pytest.raises(DataError, match=words) as caught:
        read_posts(settings(splits=str(folds)), "train")
    assert str(caught.value).startswith(f"{folds / file}, line {line}: ")


@pytest.mark.parametrize("file", ["valid_pairlist.txt", "splits/train_1.txt", "splits/test_1.txt"])
def test_a_file_that_is_empty_or_not_text_is_named(settings, folds, file):
    config = settings(splits=str(folds))
    for content, words in ((b"\n \n", "is empty"), (b"\xff\xfe0", "cannot be read")):
        (folds / file).write_bytes(content)
        with pytest.raises(DataError, match=words) as caught:
            read_posts(config)
        assert str(caught.value).startswith(f"{folds / file} ")


def test_a_file_that_is_missing_is_named(settings, folds):
    config = settings(splits=str(folds))
    for file, words in {
        "splits/val_1.txt": r"val_1\.txt cannot be read \(No such file",
        "splits/train_1.txt": r"has no fold 1 .*: choose one of 2\.",
        "splits/train_2.txt": r"has no fold 1 .*: download the folds again",
        "valid_pairlist.txt": r"has no valid_pairlist\.txt",
    }.items():
        (folds / file).unlink()
        with pytest.raises(MvcnError, match=words):
            read_posts(config)


def test_empty_lines_do_not_change_numbers(settings, folds):
    (folds / "valid_pairlist.txt").write_text("\n3, 1, 1, 0\r\n\n4,2,2,2\n\n")
    for name, line in {"train": "1", "val": " 3 ", "test": "1"}.items():
        (folds / "splits" / f"{name}_1.txt").write_text(f"\n{line}\r\n")
    with pytest.raises(
        DataError, match=r"test_1\.txt, line 2: post 3 is also in .*train_1\.txt, line 2"
    ):
        read_posts(settings(splits=str(folds)))
    (folds / "valid_pairlist.txt").write_text("5,0,0,0\n3,1,1,0\n\n4,2,2,2\n")
    (folds / "splits" / "test_1.txt").write_text("0")
    found = read_posts(settings(splits=str(folds))).posts
    assert [(post.id, post.label, post.split) for post in found] == [
        ("3", "positive", "train"),
        ("4", "negative", "dev"),
        ("5", "neutral", "test"),
    ]
