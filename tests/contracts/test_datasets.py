"""What every reader of posts keeps to, on fixtures made here and on real data where it is there."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import datasets
import pytest
import webdataset

from mvcn.data.datasets import DATASETS, read_corpus
from mvcn.data.prepare import prepare
from mvcn.errors import DataError

REAL_MVSA_SINGLE = Path(__file__).parents[3] / "shared" / "data" / "MVSA_Single"


def write_mvsa_single(folder):
    """Five rows: one contradictory, one text in GB18030 bytes, one in UTF-8, one image lacking."""
    texts = {
        3: b"can\xa1\xaft wait\xa1\xad http://t.co/a \n",
        1: b"RT @you: so sad",
        12: "it\u2019s fine".encode(),
        7: b"what a day",
        5: b"love it",
    }
    pairs = ("neutral,positive", "negative,negative", "neutral,neutral", "positive,negative")
    rows = zip(texts, (*pairs, "positive,neutral"), strict=True)
    (folder / "data").mkdir()
    for post_id, text in texts.items():
        (folder / "data" / f"{post_id}.txt").write_bytes(text)
    lines = ["ID\ttext,image", *(f"{post_id}\t{labels}" for post_id, labels in rows)]
    (folder / "labelResultAll.txt").write_text("\n".join(lines) + "\n")
    return folder


def write_posts_table(folder):
    path = folder / "posts.csv"
    path.write_text(
        "id,text,image,label\nb,good,b.jpg,yes\na,bad,,no\nc,,c.jpg,yes\ne,fair,,no\nd,x,,maybe\n"
    )
    return path


def write_mvsa_multiple(folder):
    """Four rows: one clear, one by two of three, one without a majority, one contradictory."""
    rows = {
        1: "positive,positive\tpositive,positive\tpositive,positive",
        2: "neutral,negative\tneutral,neutral\tpositive,negative",
        3: "neutral,positive\tpositive,positive\tnegative,positive",
        4: "positive,negative\tpositive,negative\tneutral,neutral",
    }
    (folder / "data").mkdir()
    for post_id in rows:
        (folder / "data" / f"{post_id}.txt").write_text(f"post {post_id}")
    lines = ["ID" + 3 * "\ttext,image", *(f"{post_id}\t{row}" for post_id, row in rows.items())]
    (folder / "labelResultAll.txt").write_text("\n".join(lines) + "\n")
    return folder


def write_hfm(folder):
    """Three parts, one post with a filtered word, one hashtag label that the human one corrects."""
    lines = {
        "train": [["11", "so  nice ", 1], ["12", "a day", 0], ["13", "# sarcasm here", 1]],
        "valid2": [["21", "what a day", 1, 0], ["22", "great .", 1, 1]],
        "test2": [["31", "well", 0, 0], ["32", "it's \\d", 1, 1]],
    }
    (folder / "text").mkdir()
    (folder / "extract").mkdir()
    for name, rows in lines.items():
        (folder / "text" / f"{name}.txt").write_text("".join(f"{row!r}\n" for row in rows))
    (folder / "extract" / "extract_all").write_text("['11', 'sky', 'sea']\n")
    return folder


def write_clmlf(folder):
    (folder / "dataset_image").mkdir()
    for split, labels in {"train": (0, 1, 2), "dev": (0, 1)}.items():
        entries = [
            {"id": f"{split}{n}", "text": "words", "emotion_label": label}
            for n, label in enumerate(labels)
        ]
        (folder / f"{split}.json").write_text(json.dumps(entries))
    return folder


def write_qmf(folder):
    for split, labels in {"train": ("positive", "neutral"), "test": ("positive",)}.items():
        rows = [
            {"id": f"{split}{n}", "label": label, "text": "words", "img": f"data/{n}.jpg"}
            for n, label in enumerate(labels)
        ]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def write_image_folder(folder):
    for split, label, name in (
        ("train", "cat", "a.png"),
        ("train", "dog", "b.JPG"),
        ("validation", "cat", "a.png"),
    ):
        (folder / split / label).mkdir(parents=True, exist_ok=True)
        (folder / split / label / name).write_bytes(b"not looked at")
    (folder / "train" / "cat" / "a.txt").write_text("a cat")
    return folder


def write_hugging_face(folder):
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    parts = {
        name: datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features)
        for name in ("train", "validation")
    }
    datasets.DatasetDict(parts).save_to_disk(str(folder / "saved"))
    return folder / "saved"


def write_webdataset(folder):
    """Two parts in shards of their own; a post without an image, and one without a text."""
    for part in ("train", "val"):
        with webdataset.TarWriter(str(folder / f"{part}-000.tar"), encoder=True) as shard:
            shard.write({"__key__": f"{part}0", "jpg": b"not looked at", "txt": "a", "cls": 0})
            shard.write({"__key__": f"{part}1", "json": {"caption": "b", "label": 1}})
            shard.write({"__key__": f"{part}2", "png": b"not looked at", "cls": 1})
    return folder


def write_prepared(folder):
    posts = read_corpus("qmf-jsonl", write_qmf(folder))
    without_images = [replace(post, image=None) for post in posts.posts]
    prepare(replace(posts, posts=without_images), folder / "prepared", dataset="qmf-jsonl")
    return folder / "prepared"


FIXTURES = {
    "mvsa-single": write_mvsa_single,
    "mvsa-multiple": write_mvsa_multiple,
    "hfm": write_hfm,
    "clmlf-json": write_clmlf,
    "qmf-jsonl": write_qmf,
    "image-folder": write_image_folder,
    "hugging-face": write_hugging_face,
    "webdataset": write_webdataset,
    "prepared": write_prepared,
    "table": write_posts_table,
}


def test_every_data_set_has_a_fixture():
    assert list(FIXTURES) == list(DATASETS)


@pytest.mark.parametrize("name", DATASETS)
def test_readers_keep_the_contract(name, tmp_path):
    require_contract(name, FIXTURES[name](tmp_path))


def plain(posts):
    """Posts with text in place of images inside larger files, which are equal by identity."""
    return [(str(post.image), replace(post, image=None)) for post in posts]


def require_contract(name, root):
    corpus, again = read_corpus(name, root), read_corpus(name, root)
    ids = [post.id for post in corpus.posts]
    removed = [post_id for ids in corpus.removed.values() for post_id in ids]
    assert corpus.posts
    assert len(set(ids + removed)) == len(ids) + len(removed)
    assert len(set(corpus.class_names)) == len(corpus.class_names)
    for post in corpus.posts:
        assert post.label in corpus.class_names
        assert {post.text_label, post.image_label} <= {None, *corpus.class_names}
        assert post.split in (None, "train", "dev", "test")
    assert plain(again.posts) == plain(corpus.posts)
    assert replace(again, posts=()) == replace(corpus, posts=())
    for split in {post.split for post in corpus.posts} - {None}:
        part = read_corpus(name, root, splits=[split])
        assert part.class_names == corpus.class_names
        expected = [post for post in corpus.posts if post.split == split]
        assert plain(part.posts) == plain(expected)


def test_mvsa_single_fixture_is_read_as_written(tmp_path):
    corpus = read_corpus("mvsa-single", write_mvsa_single(tmp_path))
    assert [(post.id, post.text, post.label) for post in corpus.posts] == [
        ("3", "can\u2019t wait\u2026 http://t.co/a", "positive"),
        ("1", "RT @you: so sad", "negative"),
        ("12", "it\u2019s fine", "neutral"),
        ("5", "love it", "positive"),
    ]
    assert corpus.removed == {"contradictory": ("7",)}


def test_an_unknown_data_set_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(
        DataError, match="no dataset 'mvsa': choose from mvsa-single, mvsa-multiple,"
    ):
        read_corpus("mvsa", tmp_path)


@pytest.fixture(scope="module")
def real_mvsa_single():
    if not REAL_MVSA_SINGLE.is_dir():
        pytest.skip("no ../shared/data/MVSA_Single next to the repository")
    return REAL_MVSA_SINGLE


def test_real_mvsa_single_keeps_the_contract(real_mvsa_single):
    require_contract("mvsa-single", real_mvsa_single)


def test_real_mvsa_single_has_the_published_counts(real_mvsa_single):
    corpus = read_corpus("mvsa-single", real_mvsa_single)
    # The published 4,511 posts less the 450 test posts, which are kept elsewhere.
    assert len(corpus.posts) == 4061
    assert len(corpus.removed["contradictory"]) == 358
    # An independent statement of the rule: with -1, 0, 1 for the polarities, the sign of the sum.
    value = {"negative": -1, "neutral": 0, "positive": 1}
    rows = (real_mvsa_single / "labelResultAll.txt").read_text("ascii").split()[2:]
    pairs = [tuple(value[label] for label in pair.split(",")) for pair in rows[1::2]]
    signs = Counter((a + b > 0) - (a + b < 0) for a, b in pairs if a * b >= 0)
    labels = Counter(post.label for post in corpus.posts)
    assert labels == {name: signs[value[name]] for name in value}
    assert [post.id for post in corpus.posts] == [
        post_id for post_id, (a, b) in zip(rows[::2], pairs, strict=True) if a * b >= 0
    ]


def test_real_mvsa_single_texts_lose_no_character(real_mvsa_single):
    posts = read_corpus("mvsa-single", real_mvsa_single).posts
    assert all(post.text and "\ufffd" not in post.text for post in posts)
