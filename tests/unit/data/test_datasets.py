"""The readers of published layouts: what they make of each, of broken files, and of noise."""

import itertools
import json
import os
from collections import Counter
from pathlib import Path

import datasets
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvcn.data.datasets import DATASETS, read_corpus
from mvcn.data.datasets.hfm import FILTERED_WORDS
from mvcn.data.images import image_digest, read_image
from mvcn.data.synthetic import generate_posts
from mvcn.errors import BadImageError, ConfigError, DataError, MvcnError
from tests.unit.data.written_files import write

REAL = Path(__file__).parents[4] / "shared" / "data"
needs_hfm = pytest.mark.skipif(not (REAL / "HFM").is_dir(), reason="no real HFM is there")
needs_mvsa = pytest.mark.skipif(
    not (REAL / "MVSA_Single").is_dir(), reason="no real MVSA-Single is there"
)
POLARITIES = ("positive", "neutral", "negative")


def multiple(rows):
    labels = "".join(f"{number}\t{row}\n" for number, row in rows.items())
    texts = {f"data/{number}.txt": "words" for number in rows}
    return {"labelResultAll.txt": "ID" + 3 * "\ttext,image" + "\n" + labels, **texts}


def majority(labels):
    """The label given more than half of the times, found by trying each."""
    found = [label for label in POLARITIES if 2 * labels.count(label) > len(labels)]
    return found[0] if found else None


def merged(text, image):
    """An independent statement of the rule: the sign of the sum of -1, 0 and 1."""
    value = {"negative": -1, "neutral": 0, "positive": 1}
    if value[text] * value[image] < 0:
        return None
    total = value[text] + value[image]
    return {-1: "negative", 0: "neutral", 1: "positive"}[(total > 0) - (total < 0)]


def test_multiple_takes_majorities_and_then_merges(tmp_path):
    """All 729 ways in which three annotators can label a text and an image."""
    ways = list(itertools.product(POLARITIES, repeat=3))
    annotated = dict(enumerate(itertools.product(ways, repeat=2)))
    rows = {n: "\t".join(map(",".join, zip(*pair, strict=True))) for n, pair in annotated.items()}
    corpus = read_corpus("mvsa-multiple", write(tmp_path, multiple(rows)))
    expected = {}
    for number, pair in annotated.items():
        text, image = map(majority, pair)
        if text and image:
            expected[str(number)] = (text, image, merged(text, image))
    found = {p.id: (p.text_label, p.image_label, p.label) for p in corpus.posts}
    assert found == {key: labels for key, labels in expected.items() if labels[2]}
    assert set(corpus.removed["contradictory"]) == {k for k, v in expected.items() if not v[2]}
    left_out = {str(n) for n in annotated} - set(expected)
    assert set(corpus.removed["without a majority"]) == left_out


HFM = {
    "text/train.txt": "['1', 'a b', 1]\n['2', 'c', 0]\n",
    "text/valid2.txt": "['3', 'd', 1, 0]\n",
}


def test_hfm_takes_the_human_label_and_keeps_whitespace(tmp_path):
    lines = "['4', ' two  blanks ', 0, 1]\n[\"5\", \"it's\", 1, 0]\n"
    corpus = read_corpus("hfm", write(tmp_path, HFM | {"text/test2.txt": lines}))
    by_id = {post.id: (post.text, post.label, post.split) for post in corpus.posts}
    assert by_id["3"] == ("d", "not sarcastic", "dev")
    assert by_id["4"] == (" two  blanks ", "sarcastic", "test")
    assert by_id["5"] == ("it's", "not sarcastic", "test")


@pytest.mark.parametrize("word", sorted(FILTERED_WORDS))
def test_hfm_filters_words_and_not_parts_of_words(word, tmp_path):
    lines = f"['8', 'so {word} !', 1]\n['9', 'x{word}x', 1]\n"
    corpus = read_corpus("hfm", write(tmp_path, {"text/train.txt": lines}))
    assert [post.id for post in corpus.posts] == ["9"]
    assert corpus.removed == {"with a filtered word": ("8",)}


def test_hfm_without_filtered_posts_leaves_none_out(tmp_path):
    assert read_corpus("hfm", write(tmp_path, HFM)).removed == {}


def test_parts_of_hfm_without_posts_are_named(tmp_path, caplog):
    root = write(tmp_path, HFM | {"text/valid2.txt": "\n"})
    read_corpus("hfm", root)
    assert caplog.messages == [f"{root / 'text'}: the file of the split dev holds no posts."]
    caplog.set_level("INFO")
    for splits in (None, ["train"]):
        caplog.clear()
        read_corpus("hfm", root, splits=splits)
        assert f"{root / 'text'} has no file for the split test." in caplog.messages
        assert f"{root / 'text'}: the file of the split dev holds no posts." in caplog.messages


def test_parts_of_clmlf_without_a_file_are_named(tmp_path, caplog):
    caplog.set_level("INFO")
    entries = [{"id": n, "text": "x", "emotion_label": n % 2} for n in range(4)]
    root = write(tmp_path, {"train.json": json.dumps(entries), "dataset_image/0.jpg": b""})
    read_corpus("clmlf-json", root)
    assert [m for m in caplog.messages if "no file" in m] == [
        f"{root} has no file for the split {part}." for part in ("dev", "test")
    ]


def test_hfm_reads_only_the_files_that_a_split_needs(tmp_path):
    root = write(tmp_path, HFM | {"text/train.txt": "not read"})
    assert [p.id for p in read_corpus("hfm", root, splits=["dev"]).posts] == ["3"]
    with pytest.raises(DataError, match=r"train\.txt, line 1: 'not read' is not a Python list"):
        read_corpus("hfm", root)


def test_hfm_finds_images_by_id(tmp_path):
    root = write(tmp_path, HFM | {"image/1.jpg": b"", "elsewhere/2.jpg": b""})
    images = [post.image for post in read_corpus("hfm", root).posts]
    assert images == [root / "image/1.jpg", None, None]
    images = [p.image for p in read_corpus("hfm", root, images=root / "elsewhere").posts]
    assert images == [None, root / "elsewhere/2.jpg", None]


@needs_hfm
def test_real_hfm_has_the_published_counts():
    corpus = read_corpus("hfm", REAL / "HFM", splits=["train", "dev"])
    assert Counter((post.split, post.label) for post in corpus.posts) == {
        ("train", "sarcastic"): 8642,
        ("train", "not sarcastic"): 11174,
        ("dev", "sarcastic"): 959,
        ("dev", "not sarcastic"): 1451,
    }
    assert sum(len(post.attributes) == 5 for post in corpus.posts) == len(corpus.posts)


@needs_mvsa
def test_real_files_of_clmlf_and_qmf_are_the_posts_of_mvsa():
    root = REAL / "MVSA_Single"
    labels = {post.id: post.label for post in read_corpus("mvsa-single", root).posts}
    clmlf = read_corpus("clmlf-json", root / "splits/clmlf_format", images=root / "data")
    assert {post.id: post.label for post in clmlf.posts} == labels
    assert Counter(post.split for post in clmlf.posts) == {"train": 3611, "dev": 450}
    qmf = read_corpus("qmf-jsonl", root / "splits/qmf_format", images=root)
    assert all(labels[post.id] == post.label for post in qmf.posts)
    assert all(post.image.is_file() for post in (*clmlf.posts, *qmf.posts))


def test_clmlf_with_two_labels_is_sarcasm(tmp_path):
    entries = [{"id": n, "text": "x", "emotion_label": n % 2} for n in range(4)]
    files = {"train.json": json.dumps(entries), "dataset_image/0.jpg": b""}
    corpus = read_corpus("clmlf-json", write(tmp_path, files))
    assert corpus.class_names == ("not sarcastic", "sarcastic")
    assert [post.label for post in corpus.posts] == ["not sarcastic", "sarcastic"] * 2


def test_qmf_of_other_labels_keeps_them(tmp_path):
    lines = '{"id": 42953, "img": "img/42953.png", "label": 0, "text": "a"}\n'
    lines += '{"id": 23058, "img": "img/23058.png", "label": 1, "text": "b"}\n'
    corpus = read_corpus("qmf-jsonl", write(tmp_path, {"train.jsonl": lines}))
    assert corpus.class_names == ("0", "1")
    assert [post.image for post in corpus.posts] == [
        tmp_path / "img/42953.png",
        tmp_path / "img/23058.png",
    ]


def test_classes_are_folders_and_texts_are_next_to_images(tmp_path):
    files = {"cat/b.png": b"", "cat/a.jpg": b"", "cat/a.txt": "a cät", "dog/c.PNG": b""}
    hidden = {".DS_Store": b"", "cat/.c.png": b"", "dog/.notes": b""}
    corpus = read_corpus("image-folder", write(tmp_path, files | hidden))
    assert corpus.removed == {"hidden by the dot before its name": ("cat/.c.png",)}
    assert [(post.id, post.text, post.label) for post in corpus.posts] == [
        ("cat/a.jpg", "a cät", "cat"),
        ("cat/b.png", "", "cat"),
        ("dog/c.PNG", "", "dog"),
    ]
    assert {post.split for post in corpus.posts} == {None}


def saved(folder, rows, **features):
    known = {name: datasets.Value("string") for name in rows} | features
    dataset = datasets.Dataset.from_dict(rows, features=datasets.Features(known))
    dataset.save_to_disk(str(folder / "saved"))
    return folder / "saved"


def test_a_saved_data_set_without_parts(tmp_path):
    post = generate_posts(1, seed=0)[0].post
    rows = {"caption": ["a", "b", "c"], "photo": [post.image, None, None], "mood": [2, 0, -1]}
    root = saved(
        tmp_path,
        rows,
        photo=datasets.Image(),
        mood=datasets.ClassLabel(names=["sad", "calm", "glad"]),
    )
    columns = {"text": "caption", "image": "photo", "label": "mood"}
    corpus = read_corpus("hugging-face", root, columns=columns)
    assert corpus.class_names == ("sad", "calm", "glad")
    assert [(p.id, p.text, p.label) for p in corpus.posts] == [
        ("1", "a", "glad"),
        ("2", "b", "sad"),
        ("3", "c", None),
    ]
    assert image_digest(corpus.posts[0].image) == image_digest(post.image)
    assert corpus.posts[1].image is None


def test_what_is_no_data_set_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    write(tmp_path, {"saved/dataset_info.json": "{", "saved/state.json": "{"})
    with pytest.raises(DataError, match="cannot be read as a Hugging Face dataset") as error:
        read_corpus("hugging-face", tmp_path / "saved")
    assert "\n" not in str(error.value)


BROKEN = {
    "mvsa-multiple": {
        "one annotator": (multiple({1: "positive,positive"}), r"line 2: .* 3 pairs"),
        "other header": (
            {"labelResultAll.txt": "ID\ttext,image\n"},
            "instead of 'ID.ttext,image.t",
        ),
        "other case": (multiple({1: "\t".join(["Positive,glad"] * 3)}), r"line 2: label 'glad'"),
        "no text": (
            {
                "labelResultAll.txt": multiple({7: "\t".join(["neutral,neutral"] * 3)})[
                    "labelResultAll.txt"
                ]
            },
            r"7\.txt cannot be read",
        ),
    },
    "hfm": {
        "code": (
            {"text/train.txt": "[__import__('os').getpid(), 'a', 1]"},
            "line 1: .* no.* Python list",
        ),
        "half a line": ({"text/train.txt": "['1', 'a', 1]\n['2', 'b"}, r"line 2: .* Python list"),
        "tuple": ({"text/train.txt": "('1', 'a', 1)"}, "line 1: .* is not a Python list"),
        "two elements": (
            {"text/train.txt": "['1', 'a']"},
            "line 1 must be a list of an id, a text",
        ),
        "label of 2": ({"text/train.txt": "['1', 'a', 2]"}, "labels of 0 or 1"),
        "label of True": ({"text/train.txt": "['1', 'a', True]"}, "labels of 0 or 1"),
        "text of a number": ({"text/train.txt": "['1', 7, 1]"}, "list of an id, a text"),
        "path as id": (
            {"text/train.txt": "['../1', 'a', 1]"},
            "line 1: id '../1' may contain only letters",
        ),
        "id twice": (
            {"text/train.txt": "['1', 'a', 1]\n['1', 'b', 1]"},
            "line 2: post 1 has already appeared",
        ),
        "deep": ({"text/train.txt": "[" * 5000}, "line 1: .* is not a Python list"),
        "NUL": ({"text/train.txt": "['1', 'a\0', 1]"}, "line 1: .* is not a Python list"),
        "not UTF-8": ({"text/train.txt": b"['1', '\xff', 1]"}, "cannot be read as UTF-8"),
        "empty": ({"text/train.txt": ""}, "holds no posts"),
        "nothing": ({"readme": ""}, r"has none of train\.txt, valid2\.txt, test2\.txt"),
        "attributes": (HFM | {"extract/extract_all": "[1, 2]"}, "extract_all, line 1 must be"),
    },
    "clmlf-json": {
        "half": ({"train.json": '[{"id": "1", "te'}, r"train\.json is not valid JSON"),
        "no list": ({"train.json": "{}"}, r"train\.json is not a JSON list of posts"),
        "empty list": ({"train.json": "[]"}, r"train\.json is not a JSON list of posts"),
        "key": (
            {"train.json": '[{"id": "1"}]'},
            r"entry 1 must have the keys id, text and emotion",
        ),
        **{
            f"id {one}": (
                {"train.json": f'[{{"id": {one}, "text": "a", "emotion_label": 0}}]'},
                r"entry 1: id is .*, but must be a text or a whole number",
            )
            for one in ("null", '" "', "true", "1.5", "[1]")
        },
        "text": (
            {"train.json": '[{"id": "1", "text": null, "emotion_label": 0}]'},
            "entry 1: text is None, but must be text",
        ),
        "label": (
            {"train.json": '[{"id": "1", "text": "a", "emotion_label": "0"}]'},
            "emotion_label is '0', but must be 0, 1 or 2",
        ),
        "twice": (
            {
                "train.json": '[{"id": "1", "text": "a", "emotion_label": 0}]',
                "dev.json": '[{"id": 1, "text": "a", "emotion_label": 0}]',
                "dataset_image/x": "",
            },
            r"dev\.json, entry 1: id '1' has already appeared",
        ),
        "no images": (
            {"train.json": '[{"id": "1", "text": "a", "emotion_label": 0}]'},
            "image folder .* does not exist.*--images",
        ),
        "nothing": ({"readme": ""}, r"has no train\.json, dev\.json, test\.json"),
        "deep": ({"train.json": "[" * 100_000}, "is not valid JSON"),
    },
    "qmf-jsonl": {
        "half": ({"train.jsonl": '{"id": 1, "te'}, r"row 1 \(line 1\) is not a JSON object"),
        "twice": (
            {
                "train.jsonl": '{"id": 1, "text": "a", "img": "a.png", "label": "x"}',
                "dev.jsonl": '{"id": 1, "text": "a", "img": "a.png", "label": "x"}',
            },
            r"id '1' is in both train\.jsonl and dev\.jsonl",
        ),
        "no image column": (
            {"train.jsonl": '{"id": 1, "text": "a"}'},
            "no column 'img' for 'image'",
        ),
        "nothing": ({"readme": ""}, r"has no train\.jsonl, dev\.jsonl, test\.jsonl"),
    },
    "image-folder": {
        "image in no class": (
            {"a.png": b"", "cat/b.png": b""},
            r"a\.png is not in a class folder",
        ),
        "class of another file": ({"cat/a.doc": b""}, "class folder .*cat holds no images"),
        "not UTF-8": ({"cat/a.png": b"", "cat/a.txt": b"\xff"}, r"a\.txt: byte 0 is not UTF-8"),
        "two tables": ({"metadata.csv": "", "metadata.jsonl": ""}, "has 2 metadata tables"),
        "no file_name": ({"metadata.csv": "text\na\n"}, "no column 'file_name'"),
        "nothing": ({".hidden": b"", "readme.md": b""}, "holds no images: use a folder that has"),
        "table of another name": (
            {"a.png": b"", "labels.csv": "file_name\na.png\n"},
            r"has labels\.csv next to its images: .*--data table --root .*labels\.csv",
        ),
        "classes one folder deeper": (
            {"data/cat/a.png": b"", "data/dog/b.png": b""},
            "data holds its images in folders, such as cat, .*--root",
        ),
        "a class called as a part": (
            {"positive/a.png": b"", "test/b.png": b""},
            "positive hold images that are not in class folders: if test is .*rename",
        ),
        "parts one folder deeper": (
            {"data/train/cat/a.png": b"", "more/a.png": b""},
            "data holds its images in folders, such as train, .*--root",
        ),
        "class of nothing": (
            {"cat/a.png": b"", "dog/.hidden": b""},
            "class folder .*dog holds no images: add some, or remove",
        ),
    },
}


@pytest.mark.parametrize(
    ("name", "fault"), [(n, f) for n, faults in BROKEN.items() for f in faults]
)
def test_a_fault_is_one_sentence_that_says_where(name, fault, tmp_path):
    files, message = BROKEN[name][fault]
    with pytest.raises(DataError, match=message) as error:
        read_corpus(name, write(tmp_path, files))
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


OUTSIDE = {
    "clmlf-json": {
        "train.json": '[{"id": "../../1", "text": "a", "emotion_label": 0}]',
        "dataset_image/x": "",
    },
    "qmf-jsonl": {"train.jsonl": '{"id": 1, "img": "/etc/x.png"}'},
    "image-folder": {"metadata.csv": "file_name\n../a.png\n"},
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_an_image_outside_of_the_root_is_a_bad_one(name, tmp_path):
    (post,) = read_corpus(name, write(tmp_path, OUTSIDE[name])).posts
    with pytest.raises(BadImageError, match=r"(row|entry) 1.* is outside .*--images"):
        read_image(post.image)


def test_links_that_the_owner_made_are_read(tmp_path):
    write(tmp_path, {"outside/1.txt": "words", "outside/1.png": b"picture"})
    root = write(tmp_path / "mvsa", {"labelResultAll.txt": "ID\ttext,image\n1\tneutral,neutral\n"})
    (root / "data").symlink_to(tmp_path / "outside")
    for folder in (tmp_path / "classes/cat", tmp_path / "hfm/text", tmp_path / "hfm/image"):
        folder.mkdir(parents=True)
    (tmp_path / "classes/cat/1.png").symlink_to("../../outside/1.png")
    (tmp_path / "classes/cat/1.txt").symlink_to("../../outside/1.txt")
    (tmp_path / "classes/dog").symlink_to(tmp_path / "classes/cat")
    (tmp_path / "hfm/text/train.txt").write_text("['1', 'words', 1]")
    (tmp_path / "hfm/image/1.png").symlink_to(tmp_path / "outside/1.png")
    sources = {"mvsa-single": "mvsa", "image-folder": "classes", "hfm": "hfm"}
    for name, count in {"mvsa-single": 1, "image-folder": 2, "hfm": 1}.items():
        posts = read_corpus(name, tmp_path / sources[name]).posts
        found = [(post.text, read_image(post.image)) for post in posts]
        assert found == [("words", b"picture")] * count, name


def test_links_that_lead_nowhere_are_bad_images(tmp_path):
    root = write(tmp_path, {"cat/a.png": b"", "dog/b.png": b""})
    (root / "cat/loop.png").symlink_to("loop.png")
    (root / "dog/gone.png").symlink_to("nowhere")
    posts = {post.id: post.image for post in read_corpus("image-folder", root).posts}
    for name in ("cat/loop.png", "dog/gone.png"):
        with pytest.raises(BadImageError, match="it is a broken link"):
            read_image(posts[name])


def test_a_pipe_does_not_hang(tmp_path):
    (tmp_path / "text").mkdir()
    for name in ("text/train.txt", "text/valid2.txt", "train.json", "train.jsonl"):
        os.mkfifo(tmp_path / name)
    os.mkfifo(tmp_path / "labelResultAll.txt")
    for name in set(DATASETS) - {"table", "hugging-face", "prepared"}:
        with pytest.raises(DataError):
            read_corpus(name, tmp_path)


def test_options_without_a_use_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="mvsa-single has a fixed layout: leave out --columns"):
        read_corpus("mvsa-single", tmp_path, columns={"text": "tweet"})
    with pytest.raises(ConfigError, match="leave out --images"):
        read_corpus("mvsa-multiple", tmp_path, images=tmp_path)


NOISY = {
    "mvsa-single": "labelResultAll.txt",
    "mvsa-multiple": "labelResultAll.txt",
    "hfm": "text/train.txt",
    "clmlf-json": "train.json",
    "qmf-jsonl": "train.jsonl",
    "image-folder": "metadata.csv",
}
VALID = {
    "mvsa-single": b"ID\ttext,image\n1\tneutral,positive\n",
    "mvsa-multiple": b"ID\ttext,image\ttext,image\ttext,image\n1"
    + 3 * b"\tneutral,neutral"
    + b"\n",
    "hfm": b"['1', 'a  b', 1]\n['2', 'c', 0, 1]\n",
    "clmlf-json": b'[{"id": "1", "text": "a", "emotion_label": 0}]',
    "qmf-jsonl": b'{"id": 1, "text": "a", "img": "a.png", "label": "x"}\n',
    "image-folder": b"file_name,text,label\na.png,b,c\n",
}
edits = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4)


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    return tmp_path_factory.mktemp("noise")


@pytest.mark.parametrize("name", NOISY)
@given(noise=st.binary(max_size=40), edits=edits, end=st.floats(0.2, 1))
def test_noise_is_read_or_refused(noisy, name, noise, edits, end):
    edited = bytearray(VALID[name])
    for position, value in edits:
        edited[int(position * len(edited))] = value
    for content in (noise, bytes(edited[: round(end * len(edited))])):
        files = {NOISY[name]: content, "data/1.txt": b"words", "dataset_image/x": b""}
        root = write(noisy / name, files)
        try:
            read_corpus(name, root)
        except MvcnError as error:
            first, *rows = str(error).splitlines()
            assert not rows or first.endswith(f" has {len(rows)} bad rows:")
