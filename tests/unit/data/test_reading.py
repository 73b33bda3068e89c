"""Which posts a run learns from: by files, by the source itself, or by the seed."""

import random

import pytest

from mvcn.config import RunConfig
from mvcn.data.reading import draw_training_posts, read_posts, read_training_posts
from mvcn.errors import ConfigError, DataError


def write(path, count, label=lambda number: "ab"[number % 2]):
    rows = [f"{path.stem}-{n},text {n},{label(n)}" for n in range(count)]
    path.write_text("\n".join(["id,text,label", *rows]) + "\n")
    return path


def settings(**values):
    return RunConfig.from_mapping({"data": values}).data


def ids(posts):
    return [post.id for post in posts]


def test_two_files_are_taken_as_they_are(tmp_path):
    train, dev = write(tmp_path / "train.csv", 6), write(tmp_path / "dev.csv", 4)
    posts = read_training_posts(settings(train=str(train), dev=str(dev)), seed=0)
    assert ids(posts.train) == [f"train-{n}" for n in range(6)]
    assert ids(posts.dev) == [f"dev-{n}" for n in range(4)]
    assert posts.class_names == ("a", "b")


def test_one_training_file_gives_a_tenth_to_dev_by_the_seed(tmp_path):
    train = settings(train=str(write(tmp_path / "train.csv", 40)))
    posts, again, other = (read_training_posts(train, seed=seed) for seed in (0, 0, 1))
    assert (len(posts.train), len(posts.dev)) == (36, 4)
    assert posts == again != other


def test_a_table_without_splits_gives_a_tenth_to_dev_only_if_that_is_needed(tmp_path):
    root = settings(root=str(write(tmp_path / "posts.csv", 40)))
    posts = read_training_posts(root, seed=0)
    assert (len(posts.train), len(posts.dev)) == (36, 4)
    assert not set(ids(posts.train)) & set(ids(posts.dev))
    assert not posts.unused_splits
    posts = read_training_posts(root, 0, lambda count: count != 40)
    assert (len(posts.train), len(posts.dev)) == (40, 0)
    assert not posts.unused_splits


@pytest.mark.parametrize("by_lists", [True, False])
def test_a_train_split_without_dev_is_enough_if_none_is_needed(tmp_path, by_lists):
    path = tmp_path / "posts.csv"
    rows = [f"{n},text {n},{'ab'[n % 2]},{'train' if n < 30 else 'test'}" for n in range(40)]
    if by_lists:
        rows = [row.rpartition(",")[0] for row in rows]
        (tmp_path / "train.txt").write_text("".join(f"{n}\n" for n in range(30)))
    header = "id,text,label" if by_lists else "id,text,label,split"
    path.write_text("\n".join([header, *rows]) + "\n")
    config = settings(root=str(path), **({"splits": str(tmp_path)} if by_lists else {}))
    posts = read_training_posts(config, 0, lambda _: False)
    assert (len(posts.train), len(posts.dev)) == (30, 0)
    with pytest.raises(DataError, match="dev"):
        read_training_posts(config, 0)


def test_id_files_decide_over_the_seed(tmp_path):
    root = write(tmp_path / "posts.csv", 6)
    for name, numbers in {"train": (5, 0, 3), "dev": (1, 2)}.items():
        (tmp_path / f"{name}.txt").write_text("".join(f"posts-{n}\n" for n in numbers))
    config = settings(root=str(root), splits=str(tmp_path))
    posts = read_training_posts(config, seed=0)
    assert ids(posts.train) == ["posts-5", "posts-0", "posts-3"]
    assert ids(posts.dev) == ids(read_posts(config, "dev").posts) == ["posts-1", "posts-2"]


def test_posts_without_a_label_wait_and_are_counted(tmp_path):
    root = write(tmp_path / "posts.csv", 40, lambda n: "" if n >= 20 else "ab"[n % 2])
    posts = read_training_posts(settings(root=str(root)), seed=0)
    assert posts.removed["without a label"] == tuple(f"posts-{n}" for n in range(20, 40))
    assert (len(posts.train), len(posts.dev)) == (18, 2)


@pytest.mark.parametrize("given", ["root", "train", "splits"])
def test_posts_without_text_and_image_are_left_out_and_counted(tmp_path, given):
    whole = [f"{n},text {n},{'ab'[n % 2]}" for n in range(40)]
    empty = ["e1,,a", "e2, ,b", "e3,,"]
    path = tmp_path / "posts.csv"
    path.write_text("\n".join(["id,text,label", *whole[:20], *empty, *whole[20:]]) + "\n")
    for split, ids_of in {"train": ["0", "1", "e1"], "dev": ["2", "3", "e2"]}.items():
        (tmp_path / f"{split}.txt").write_text("".join(f"{one}\n" for one in ids_of))
    more = {"root": str(path), "splits": str(tmp_path)} if given == "splits" else {given: str(path)}
    posts = read_training_posts(settings(**more), seed=0)
    assert posts.removed.pop("without text and image") == ("e1", "e2", "e3")
    unlisted = {"in none of the lists of ids": tuple(str(n) for n in range(4, 40))}
    assert posts.removed == (unlisted if given == "splits" else {})
    assert not {"e1", "e2", "e3"} & {*ids(posts.train), *ids(posts.dev)}
    path.write_text("\n".join(["id,text,label", *whole]) + "\n")
    if given != "splits":  # the others are dealt out as if there had been none
        again = read_training_posts(settings(**more), seed=0)
        assert (posts.train, posts.dev) == (again.train, again.dev)


def test_a_split_that_nobody_has_made_is_refused(tmp_path):
    config = settings(root=str(write(tmp_path / "posts.csv", 6)))
    with pytest.raises(DataError, match=r"which posts are in its 'dev' split.*--splits"):
        read_posts(config, "dev")


def test_a_source_needs_a_place(tmp_path):
    with pytest.raises(
        ConfigError,
        match=r"'table' needs posts: .*--root PATH \(data.root\) or --train PATH \(data.train",
    ):
        read_training_posts(settings(), seed=0)
    with pytest.raises(
        ConfigError, match=r"No posts are named: .* or pass it with --root \(data.root\)"
    ):
        read_posts(settings())


@pytest.mark.parametrize("split", ["train", "dev"])
def test_a_file_of_one_part_that_says_another_is_reported(split, tmp_path, caplog):
    rows = [f"{n},text {n},{'ab'[n % 2]},{'test' if n < 3 else split}" for n in range(20)]
    path = tmp_path / "posts.csv"
    path.write_text("\n".join(["id,text,label,split", *rows]))
    plain = write(tmp_path / "plain.csv", 20)
    files = {"train": str(plain), "dev": str(plain)} | {split: str(path)}
    posts = read_training_posts(settings(**files), seed=0)
    assert len(getattr(posts, split)) == 20
    (warning,) = [r.message for r in caplog.records if r.levelname == "WARNING"]
    assert f"passed with --{split}, so all of its posts are" in warning
    assert "3 of the split test" in warning


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (("root", "dev"), "--dev needs --train"),
        (("train", "root"), "--train and --root are both training posts"),
        (("train", "splits"), "only works with --root"),
    ],
)
def test_a_setting_that_would_be_ignored_is_refused(tmp_path, named, message):
    path = write(tmp_path / "posts.csv", 40)
    with pytest.raises(ConfigError, match=message):
        read_training_posts(settings(**dict.fromkeys(named, str(path))), seed=0)


@pytest.mark.parametrize("draw", [0, 2])
def test_a_draw_of_training_posts_is_that_of_the_formula(draw, tmp_path):
    posts = read_training_posts(settings(train=str(write(tmp_path / "train.csv", 40))), seed=0)
    drawn = draw_training_posts(posts, 10, draw)
    expected = random.Random(1000 * draw + 10).sample(ids(posts.train), 10)
    assert ids(drawn.train) == expected
    assert drawn.dev == posts.dev
    assert set(drawn.removed["not drawn (data.limit)"]) == set(ids(posts.train)) - set(expected)


def test_without_a_limit_or_with_fewer_posts_all_are_kept(tmp_path, caplog):
    posts = read_training_posts(settings(train=str(write(tmp_path / "train.csv", 40))), seed=0)
    assert draw_training_posts(posts, None, 0) is posts
    assert draw_training_posts(posts, 36, 0) is posts
    assert not caplog.records
    assert draw_training_posts(posts, 37, 0) is posts
    assert "data.limit is 37, but there are only 36 training posts: all are used." in caplog.text


@pytest.mark.parametrize(("classes", "refused"), [(21, True), (20, False), (10, False)])
def test_numbers_that_are_no_classes_are_refused(tmp_path, classes, refused):
    path = write(tmp_path / "train.csv", 40, lambda n: f"0.{n % classes:02}")
    if not refused:
        assert len(read_training_posts(settings(train=str(path)), 0, no_dev).class_names) == classes
        return
    with pytest.raises(DataError, match=r"21 different labels, such as '0', '0\.01'"):
        read_training_posts(settings(train=str(path)), 0, no_dev)


def no_dev(_):
    return False
