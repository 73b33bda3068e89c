"""What every reader of posts keeps to, on fixtures made here and on real data where it is there."""

from collections import Counter
from pathlib import Path

import pytest

from mvcn.data import DATASETS, read_corpus
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


FIXTURES = {"mvsa-single": write_mvsa_single, "table": write_posts_table}


def test_every_data_set_has_a_fixture():
    assert list(FIXTURES) == list(DATASETS)


@pytest.mark.parametrize("name", DATASETS)
def test_readers_keep_the_contract(name, tmp_path):
    require_contract(name, FIXTURES[name](tmp_path))


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
    assert again == corpus


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
    with pytest.raises(DataError, match="no data set 'mvsa': choose one of mvsa-single, table"):
        read_corpus("mvsa", tmp_path)


@pytest.fixture(scope="module")
def real_mvsa_single():
    if not REAL_MVSA_SINGLE.is_dir():
        pytest.skip("no ../shared/data/MVSA_Single beside the repository")
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
