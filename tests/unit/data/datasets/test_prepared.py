"""Prepared posts are the posts that went in, whatever happens on the way."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import datasets
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mvcn.audit.findings import read_audited_posts
from mvcn.audit.posts import find_faulty_images
from mvcn.config import DataConfig
from mvcn.data import stored_images
from mvcn.data.datasets import prepared
from mvcn.data.datasets.prepared import read_prepared
from mvcn.data.images import describe_image, image_digest
from mvcn.data.prepare import prepare
from mvcn.data.synthetic import generate_posts, write_table
from mvcn.data.table import read_table
from mvcn.errors import BadImageError, DataError, MvcnError, RunError
from mvcn.types import Corpus, Post

SPLITS = ("train", "dev", None, "test", "train")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("posts")


@pytest.fixture(scope="module")
def corpus(folder):
    """Forty posts in three splits and none; some without a text, an image or a label."""
    found = read_table(write_table(generate_posts(40, seed=5), folder))
    posts = []
    for number, post in enumerate(found.posts):
        missing = {7: {"image": None}, 11: {"text": ""}, 13: {"label": None}}.get(number, {})
        split, words = SPLITS[number % 5], ("sea", "sky") if number % 2 else ()
        posts.append(replace(post, split=split, attributes=words, **missing))
    removed, encodings = {"contradictory": ("x1", "x2")}, {"gb18030": (posts[0].id,)}
    return Corpus(posts, found.class_names, removed, encodings)


def in_parts(posts):
    """The order in which parts are written."""
    order = {"train": 0, "dev": 1, "test": 2, None: 3}
    return sorted(posts, key=lambda post: order[post.split])


def plain(posts):
    digests = [None if p.image is None else image_digest(p.image) for p in posts]
    return [replace(post, image=None) for post in posts], digests


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr("mvcn.data.prepare.SHARD_POSTS", 6)
    monkeypatch.setattr("mvcn.data.prepare.ROW_GROUP_POSTS", 4)


def test_what_goes_in_comes_out(corpus, tmp_path):
    index = prepare(corpus, tmp_path / "out", dataset="table")
    again = read_prepared(tmp_path / "out")
    assert plain(again.posts) == plain(in_parts(corpus.posts))
    assert replace(again, posts=()) == replace(corpus, posts=())
    for post, before in zip(again.posts, in_parts(corpus.posts), strict=True):
        if post.image is not None:
            assert post.image.read() == before.image.read_bytes()
            assert post.image.facts == describe_image(before.image)
    assert sum(shard["posts"] for shard in index["shards"]) == 40
    assert not list((tmp_path / "out").rglob("*.partial"))


def test_prepared_posts_can_be_prepared_again(corpus, tmp_path):
    prepare(corpus, tmp_path / "one", dataset="table")
    prepare(read_prepared(tmp_path / "one"), tmp_path / "two", dataset="prepared")
    one, two = (read_prepared(tmp_path / name) for name in ("one", "two"))
    assert plain(one.posts) == plain(two.posts)


def test_only_the_files_of_wanted_parts_are_read(corpus, tmp_path):
    prepare(corpus, tmp_path, dataset="table")
    for path in (tmp_path / "data").glob("train-*"):
        path.write_bytes(b"damaged")
    part = read_prepared(tmp_path, splits=["dev"])
    assert [p.id for p in part.posts if p.split] == [p.id for p in corpus.posts if p.split == "dev"]
    with pytest.raises(DataError, match=r"train-00000-of-00003\.parquet is damaged"):
        read_prepared(tmp_path)


def test_reading_posts_reads_no_image(corpus, tmp_path, monkeypatch):
    prepare(corpus, tmp_path, dataset="table")
    read = []
    usual = pq.ParquetFile.read_row_group

    def note(self, *arguments, **options):
        read.extend(options["columns"])
        return usual(self, *arguments, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", note)
    first = next(p for p in read_prepared(tmp_path).posts if p.image is not None)
    image_digest(first.image)
    describe_image(first.image)
    assert "image_digest" in read
    assert not [name for name in read if name.startswith("image.") or name == "image"]


@pytest.fixture
def with_bad_images(corpus, folder):
    (folder / "broken.png").write_bytes((folder / "images/post-00000.png").read_bytes()[:300])
    bad = [
        Post("missing", "a", folder / "nowhere.png", "positive", split="dev"),
        Post("broken", "b", folder / "broken.png", "positive", split="dev"),
    ]
    return replace(corpus, posts=[*corpus.posts, *bad])


def test_a_bad_image_stops(with_bad_images, tmp_path):
    with pytest.raises(
        BadImageError, match=r"2 images cannot be read:\n  post 'missing': .*nowhere"
    ):
        prepare(with_bad_images, tmp_path / "out", dataset="table")
    with pytest.raises(DataError, match="is not finished: run the same"):
        read_prepared(tmp_path / "out")


def test_the_bad_images_of_all_shards_are_told_together(corpus, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("mvcn.data.prepare.SHARD_POSTS", 6)
    (folder / "half.png").write_bytes((folder / "images/post-00000.png").read_bytes()[:300])
    bad = (3, 17, 38)
    posts = [
        replace(post, image=folder / "half.png") if number in bad else post
        for number, post in enumerate(corpus.posts)
    ]
    with pytest.raises(BadImageError, match=r"3 images cannot be read") as error:
        prepare(replace(corpus, posts=posts), tmp_path, dataset="table")
    assert all(f"post {posts[number].id!r}: " in str(error.value) for number in bad)
    written = {path.stem for path in tmp_path.glob("data/*.parquet")}
    assert written == {path.stem for path in tmp_path.glob("data/*.json")}
    assert not list(tmp_path.glob("data/*.partial"))
    index = prepare(replace(corpus, posts=posts), tmp_path, dataset="table", on_bad_image="drop")
    assert set(index["bad_images"]) == {posts[number].id for number in bad}


def test_work_that_a_bad_image_stopped_goes_on_with_another_policy(with_bad_images, tmp_path):
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    with pytest.raises(BadImageError):
        prepare(with_bad_images, cut, dataset="table")
    done = {path: path.stat().st_mtime_ns for path in cut.glob("data/*.parquet")}
    assert done
    index = prepare(with_bad_images, cut, dataset="table", on_bad_image="blank")
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert index == prepare(with_bad_images, whole, dataset="table", on_bad_image="blank")
    with pytest.raises(RunError, match="holds another prepared dataset"):
        prepare(with_bad_images, cut, dataset="table", on_bad_image="drop")


def test_work_begun_with_another_policy_is_refused(with_bad_images, tmp_path):
    with pytest.raises(BadImageError):
        prepare(with_bad_images, tmp_path, dataset="table")
    plan = json.loads((tmp_path / "plan.json").read_text())
    (tmp_path / "plan.json").write_text(json.dumps(plan | {"on_bad_image": "blank"}))
    with pytest.raises(RunError, match=r"other settings \(on_bad_image\)"):
        prepare(with_bad_images, tmp_path, dataset="table", on_bad_image="drop")


def test_a_bad_image_is_left_out_and_kept_in_mind(with_bad_images, tmp_path):
    index = prepare(with_bad_images, tmp_path, dataset="table", on_bad_image="blank")
    assert list(index["bad_images"]) == ["missing", "broken"]
    assert str(with_bad_images.posts[-1].image) in index["bad_images"]["broken"]
    posts = {post.id: post for post in read_prepared(tmp_path).posts}
    assert (posts["missing"].image, posts["broken"].image) == (None, None)
    assert len(posts) == 42


def test_an_audit_finds_what_was_wrong_before(with_bad_images, tmp_path):
    prepare(with_bad_images, tmp_path, dataset="table", on_bad_image="blank")
    audited = read_audited_posts(DataConfig(name="prepared", root=tmp_path))
    found = find_faulty_images(audited).details
    assert found["missing"] == ["missing"]
    assert found["broken"] == ["broken"]
    assert str(with_bad_images.posts[-1].image) in found["reasons"]["broken"]


def test_a_truncated_image_is_kept_and_stays_known(corpus, folder, tmp_path, caplog):
    path = folder / "cut.jpg"
    Image.linear_gradient("L").resize((40, 600)).save(path)
    path.write_bytes(path.read_bytes()[:-2])
    posts = [*corpus.posts, Post("cut", "a", path, "positive", split="dev")]
    sentence = f"Image {path} is truncated: 600 of its 600 rows can be decoded."
    index = prepare(replace(corpus, posts=posts), tmp_path, dataset="table")
    assert index["truncated_images"] == {"cut": sentence}
    assert caplog.messages == [f"1 truncated image is used: {sentence}"]
    (cut,) = (post for post in read_prepared(tmp_path).posts if post.id == "cut")
    assert cut.image.read() == path.read_bytes()
    found = find_faulty_images(read_audited_posts(DataConfig(name="prepared", root=tmp_path)))
    assert found.details["truncated"] == ["cut"]
    assert found.details["reasons"]["cut"] == sentence


def test_a_post_with_a_bad_image_is_dropped_and_counted(with_bad_images, tmp_path):
    prepare(with_bad_images, tmp_path, dataset="table", on_bad_image="drop")
    corpus = read_prepared(tmp_path)
    assert len(corpus.posts) == 40
    assert corpus.removed["with a bad image"] == ("missing", "broken")


def test_posts_without_text_and_image_are_left_out_and_counted(with_bad_images, tmp_path):
    empty = [Post("e1", "", None, "positive"), Post("e2", " \n", None)]
    bad = with_bad_images.posts[-1].image
    posts = [empty[0], *with_bad_images.posts, empty[1], Post("alone", " ", bad, split="dev")]
    index = prepare(
        replace(with_bad_images, posts=posts), tmp_path, dataset="table", on_bad_image="blank"
    )
    assert list(index["bad_images"]) == ["missing", "broken", "alone"]
    corpus = read_prepared(tmp_path)
    assert corpus.removed["without text and image"] == ("e1", "e2", "alone")
    assert [p.id for p in corpus.posts] == [p.id for p in in_parts(with_bad_images.posts)]


WORK = """
import sys, time
from pathlib import Path
from mvcn.data import prepare
from mvcn.data.table import read_table
prepare.SHARD_POSTS, prepare.ROW_GROUP_POSTS = 6, 4
usual = prepare._load
def slowly(post):
    time.sleep(0.05)
    return usual(post)
prepare._load = slowly
prepare.prepare(read_table(Path(sys.argv[1])), Path(sys.argv[2]), dataset="table")
"""


def test_killed_work_goes_on_where_it_was(folder, corpus, tmp_path):
    table, cut, whole = folder / "posts.csv", tmp_path / "cut", tmp_path / "whole"
    process = subprocess.Popen([sys.executable, "-c", WORK, str(table), str(cut)])
    while len(list(cut.glob("data/*.json"))) < 2:
        assert process.poll() is None, "it was over before it could be killed"
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = {path: path.stat().st_mtime_ns for path in cut.glob("data/*.parquet")}
    assert 2 <= len(done) < 7
    posts = read_table(table)
    assert prepare(posts, cut, dataset="table") == prepare(posts, whole, dataset="table")
    assert {path: path.stat().st_mtime_ns for path in done} == done
    files = {path.relative_to(whole): path.read_bytes() for path in whole.rglob("*.*")}
    assert {path.relative_to(cut): path.read_bytes() for path in cut.rglob("*.*")} == files


def test_nothing_is_overwritten_unless_asked(corpus, tmp_path):
    prepare(corpus, tmp_path / "out", dataset="table")
    with pytest.raises(RunError, match=r"holds another prepared dataset: .*--overwrite"):
        prepare(corpus, tmp_path / "out", dataset="table")
    fewer = replace(corpus, posts=corpus.posts[:5])
    prepare(fewer, tmp_path / "out", dataset="table", overwrite=True)
    assert len(read_prepared(tmp_path / "out").posts) == 5
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("dear")
    with pytest.raises(RunError, match="holds other files: choose a new or empty folder"):
        prepare(corpus, tmp_path / "other", dataset="table", overwrite=True)
    (tmp_path / "out" / "dataset.json").unlink()
    (tmp_path / "out" / "plan.json").write_text("{}")
    with pytest.raises(RunError, match=r"other settings \(posts, on_bad_image, format\)"):
        prepare(corpus, tmp_path / "out", dataset="table")


def test_hugging_face_reads_prepared_posts(corpus, tmp_path):
    prepare(corpus, tmp_path / "out", dataset="table")
    found = datasets.load_dataset(str(tmp_path / "out" / "data"), cache_dir=str(tmp_path / "cache"))
    train = [post for post in corpus.posts if post.split == "train"]
    assert found["train"]["id"][:] == [post.id for post in train]
    assert found["train"][0]["image"].size == (224, 224)


def signed(index):
    """An index that somebody changed with care."""
    return index | {"fingerprint": prepared.digest_of(index)}


FAULTS = {
    "no index": (lambda index: None, "holds no prepared posts"),
    "no JSON": (lambda index: "{", r"dataset\.json is damaged"),
    "other format": (lambda index: index | {"format": 99}, "was written by another version"),
    "no classes": (
        lambda index: signed({k: v for k, v in index.items() if k != "class_names"}),
        "damaged",
    ),
    "other classes": (lambda index: index | {"class_names": ["a", "b"]}, "was changed after"),
    "other count": (
        lambda index: signed(index | {"shards": [index["shards"][0] | {"posts": 3}]}),
        "its content has changed",
    ),
    "other file": (
        lambda index: signed(index | {"shards": [index["shards"][0] | {"file": "../x.parquet"}]}),
        "is missing",
    ),
    "other posts": (
        lambda index: signed(index | {"shards": [index["shards"][0] | {"fingerprint": "0"}]}),
        "its posts have changed",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_index_is_one_sentence(fault, corpus, tmp_path):
    index = prepare(corpus, tmp_path, dataset="table")
    change, message = FAULTS[fault]
    changed = change(index)
    (tmp_path / "dataset.json").unlink()
    if changed is not None:
        text = changed if isinstance(changed, str) else json.dumps(changed)
        (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(DataError, match=message) as error:
        read_prepared(tmp_path)
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def noisy(corpus, tmp_path_factory):
    root = tmp_path_factory.mktemp("noisy")
    prepare(replace(corpus, posts=corpus.posts[:5]), root, dataset="table")
    paths = [root / "dataset.json", *sorted((root / "data").iterdir())]
    return root, {path: path.read_bytes() for path in paths}


@given(
    which=st.integers(0, 9),
    edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4),
    end=st.floats(0.3, 1),
)
def test_changed_bytes_are_read_or_refused(noisy, which, edits, end):
    root, files = noisy
    path = list(files)[which % len(files)]
    content = bytearray(files[path])
    for position, value in edits:
        content[int(position * len(content))] = value
    try:
        path.write_bytes(content[: round(end * len(content))])
        for post in read_prepared(root).posts:
            if post.image is not None:
                post.image.read()
    except MvcnError as error:
        assert "\n" not in str(error)  # noqa: PT017 (either outcome is right)
    finally:
        path.write_bytes(files[path])
        stored_images._ROW_GROUPS.forget()


def test_overwriting_takes_nothing_else_away(corpus, tmp_path):
    prepare(corpus, tmp_path, dataset="table")
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(RunError, match="holds other files"):
        prepare(corpus, tmp_path, dataset="table", overwrite=True)
    assert (tmp_path / "letter.txt").read_text() == "dear"


def test_posts_are_not_prepared_into_their_own_folder(corpus, folder, tmp_path):
    prepare(corpus, tmp_path, dataset="table")
    for posts, output in ((read_prepared(tmp_path), tmp_path), (corpus, folder)):
        with pytest.raises(RunError, match="contains the images to be copied"):
            prepare(posts, output, dataset="prepared", overwrite=True)
    assert len(read_prepared(tmp_path).posts) == 40


@pytest.mark.parametrize(
    "change", [{"split": "dev"}, {"attributes": ("tree",)}, {"image": None}, {"text": "other"}]
)
def test_work_that_was_begun_for_other_posts_is_not_gone_on_with(change, corpus, tmp_path):
    bad = Post("bad", "", tmp_path / "nowhere.png", "positive", split="test")
    begun = replace(corpus, posts=[*corpus.posts, bad])
    with pytest.raises(BadImageError):
        prepare(begun, tmp_path / "out", dataset="table")
    other = replace(begun, posts=[replace(begun.posts[0], **change), *begun.posts[1:]])
    with pytest.raises(RunError, match=r"other settings \(posts\)"):
        prepare(other, tmp_path / "out", dataset="table")


def test_posts_that_cannot_be_written_are_refused(corpus, tmp_path):
    strange = replace(corpus.posts[0], split="exam")
    with pytest.raises(DataError, match="Post 'post-00000' is in split 'exam'"):
        prepare(replace(corpus, posts=[strange]), tmp_path / "a", dataset="table")
    broken = replace(corpus.posts[0], text="\ud800")
    with pytest.raises(DataError, match="post-00000 cannot be written"):
        prepare(replace(corpus, posts=[broken]), tmp_path / "b", dataset="table")


def test_a_damaged_plan_is_one_sentence(corpus, tmp_path):
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(DataError, match=r"plan\.json is damaged"):
        prepare(corpus, tmp_path, dataset="table")
