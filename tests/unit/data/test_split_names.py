"""Splits of a source: read by any usual name, joined, refused or left out, and never lost."""

import json
import logging

import datasets
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvcn.config import RunConfig
from mvcn.data.datasets import read_corpus
from mvcn.data.prepare import prepare
from mvcn.data.reading import read_all, read_posts, read_training_posts
from mvcn.data.split_names import WORDS, group_by_split, split_of
from mvcn.errors import DataError
from tests.unit.data.written_files import write

USUAL = {
    "train": "train training train_set training_set Training-Set TRAIN train-00000-of-00001",
    "dev": "dev val valid validation eval development dev_seen dev_unseen Validation.Set valset",
    "test": "test testing test_set testing_set test_seen test_unseen TEST test_00001_of_00004",
}
STRANGERS = (
    "unsupervised",
    "heldout",
    "extra",
    "images_old",
    "",
    "devil",
    "retrain",
    "test2",
    "te",
)


@pytest.mark.parametrize(("split", "names"), USUAL.items())
def test_usual_names_are_known(split, names):
    assert {name: split_of(name) for name in names.split()} == dict.fromkeys(names.split(), split)
    assert split_of(f" {split} set ") == split


@pytest.mark.parametrize("name", STRANGERS)
def test_other_names_are_none(name):
    assert split_of(name) is None


@given(
    word=st.sampled_from(sorted(WORDS)),
    upper=st.booleans(),
    ends=st.tuples(*3 * [st.sampled_from("-_ .")]),
    piece=st.sampled_from(["", "seen", "unseen"]),
    has_set=st.booleans(),
)
def test_case_and_separators_make_no_difference(word, upper, ends, piece, has_set):
    name = word + (f"{ends[0]}set" if has_set else "") + (f"{ends[1]}{piece}" if piece else "")
    assert split_of(name.upper() if upper else name) == WORDS[word]


def grouped(*names):
    return group_by_split(((name, name) for name in names), "here")


def test_pieces_of_one_part_are_joined_and_named(caplog):
    caplog.set_level(logging.INFO)
    names = ("test", "dev_seen", "train-00001-of-00002", "dev_unseen", "train-00000-of-00002")
    assert grouped(*names, "extra") == {
        "train": ["train-00001-of-00002", "train-00000-of-00002"],
        "dev": ["dev_seen", "dev_unseen"],
        "test": ["test"],
    }
    assert "here: 'dev_seen' and 'dev_unseen' are read as the split dev." in caplog.messages
    assert not any("'test'" in message for message in caplog.messages)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("dev", "val"),
        ("dev", "dev_seen"),
        ("dev_seen", "val_seen"),
        ("dev_seen", "DEV-seen"),
        ("train", "train-00000-of-00002"),
    ],
)
def test_two_names_that_may_be_copies_are_refused(one, other):
    with pytest.raises(DataError, match=f"here has the splits '{one}' and '{other}', which both"):
        grouped(one, "test_seen", other)


def save_hugging_face(folder, sizes, **columns):
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["no", "yes"]),
            **{name: datasets.Value("string") for name in columns},
        }
    )
    splits = {}
    for name, size in sizes.items():
        rows = {
            "text": [f"{name} {n}" for n in range(size)],
            "label": [n % 2 for n in range(size)],
            **{column: [make(name, n) for n in range(size)] for column, make in columns.items()},
        }
        splits[name] = datasets.Dataset.from_dict(rows, features=features)
    datasets.DatasetDict(splits).save_to_disk(str(folder / "saved"))
    return folder / "saved"


def save_image_folder(folder, sizes):
    for name, size in sizes.items():
        for n in range(size):
            write(folder, {f"{name}/{'ab'[n % 2]}/{n}.png": b"not looked at"})
    return folder


def save_qmf(folder, sizes):
    for name, size in sizes.items():
        rows = [
            {"id": f"{name} {n}", "text": "words", "img": f"{n}.jpg", "label": "xy"[n % 2]}
            for n in range(size)
        ]
        write(folder, {f"{name}.jsonl": "".join(json.dumps(row) + "\n" for row in rows)})
    return folder


def save_clmlf(folder, sizes):
    for name, size in sizes.items():
        rows = [{"id": f"{name}{n}", "text": "words", "emotion_label": n % 2} for n in range(size)]
        write(folder, {f"{name}.json": json.dumps(rows), "dataset_image/x": b""})
    return folder


def save_hfm(folder, sizes):
    for number, (name, size) in enumerate(sizes.items()):
        lines = [repr([f"{number}x{n}", "words", n % 2]) + "\n" for n in range(size)]
        write(folder, {f"text/{name}.txt": "".join(lines)})
    return folder


def save_table(folder, sizes):
    rows = [f"{name} {n},{'xy'[n % 2]},{name}" for name, size in sizes.items() for n in range(size)]
    write(folder, {"posts.csv": "\n".join(["text,label,split", *rows]) + "\n"})
    return folder / "posts.csv"


SAVED = {
    "hugging-face": save_hugging_face,
    "image-folder": save_image_folder,
    "qmf-jsonl": save_qmf,
    "clmlf-json": save_clmlf,
    "hfm": save_hfm,
    "table": save_table,
}
SIZES = {"training_set": 6, "dev_seen": 4, "dev-unseen": 2, "testing_set": 5, "heldout": 3}
each_source = pytest.mark.parametrize("name", SAVED)


def count(corpus):
    splits = [post.split for post in corpus.posts]
    return {split: splits.count(split) for split in dict.fromkeys(splits)}


def config(name, root, **values):
    values |= {"name": name, "root": str(root), "text_only": name == "hfm"}  # its images are apart
    return RunConfig.from_mapping({"data": values}).data


@each_source
def test_every_post_is_read_or_named_as_left_out(name, tmp_path, caplog):
    root = SAVED[name](tmp_path, SIZES)
    corpus = read_corpus(name, root)
    assert len({post.id for post in corpus.posts}) == len(corpus.posts)
    unused = {None: 3} if name == "table" else {}
    assert count(corpus) == {"train": 6, "dev": 6, "test": 5} | unused
    removed = [post_id for ids in corpus.removed.values() for post_id in ids]
    assert len(corpus.posts) + len(removed) == sum(SIZES.values())
    (message,) = [m for m in caplog.messages if "heldout" in m]
    assert "3 posts" in message


@each_source
def test_a_part_is_all_that_means_it_and_the_others_are_counted(name, tmp_path):
    root = SAVED[name](tmp_path, SIZES)
    corpus = read_corpus(name, root, splits=["dev"])
    assert count(corpus) == {"dev": 6}
    assert corpus.other_splits == {"train": 6, "test": 5}
    (reason,) = [reason for reason in corpus.removed if "heldout" in reason]
    assert len(corpus.removed[reason]) == 3
    for dev in ("Validation", "dev_seen", "Dev-Unseen"):
        assert len(read_posts(config(name, root), dev).posts) == 6


@each_source
def test_training_accounts_for_every_post(name, tmp_path):
    root = SAVED[name](tmp_path, SIZES)
    posts = read_training_posts(config(name, root), seed=0)
    assert (len(posts.train), len(posts.dev)) == (6, 6)
    assert posts.unused_splits == {"test": 5}
    assert sum(map(len, posts.removed.values())) == 3


@each_source
def test_two_parts_that_may_be_copies_are_refused(name, tmp_path):
    root = SAVED[name](tmp_path, {"train": 2, "dev": 2, "val": 2})
    if name == "table":  # its ids are of the whole file, so nothing can come twice
        assert count(read_corpus(name, root)) == {"train": 2, "dev": 4}
        return
    with pytest.raises(DataError, match="'dev' and 'val', which both mean dev"):
        read_corpus(name, root)


@each_source
def test_a_source_without_a_dev_part_says_which_it_has(name, tmp_path):
    root = SAVED[name](tmp_path, {"train": 2, "testing_set": 4})
    with pytest.raises(DataError, match=r"dev"):
        read_training_posts(config(name, root), seed=0)


def test_a_folder_of_no_dev_part_is_told_with_what_is_there(tmp_path):
    root = save_image_folder(tmp_path, {"train": 2, "testing_set": 4})
    message = (
        r"no posts of the split dev, only 2 posts of the split train and 4 posts of the split "
    )
    with pytest.raises(DataError, match=message):
        read_training_posts(config("image-folder", root), seed=0)


def test_prepared_posts_keep_account_of_their_parts(tmp_path):
    table = save_table(tmp_path, SIZES)
    prepare(read_corpus("table", table), tmp_path / "prepared", dataset="table")
    posts = read_training_posts(config("prepared", tmp_path / "prepared"), seed=0)
    assert (len(posts.train), len(posts.dev), posts.unused_splits) == (6, 6, {"test": 5})
    assert {reason: len(ids) for reason, ids in posts.removed.items()} == {"in no split": 3}


def test_rows_of_a_table_without_a_part_are_counted_when_parts_are_wanted(tmp_path):
    rows = "text,label,split\na,x,train\nb,y,\nc,x,unlabeled\nd,y,val\n"
    corpus = read_corpus("table", write(tmp_path, {"a.csv": rows}) / "a.csv", splits=["train"])
    assert [post.text for post in corpus.posts] == ["a"]
    assert corpus.removed == {
        "in 'unlabeled', which is not train, dev or test": ("3",),
        "in no split": ("2",),
    }
    assert corpus.other_splits == {"dev": 1}


def test_a_table_of_other_parts_alone_is_refused_where_parts_are_wanted(tmp_path):
    table = save_table(tmp_path, {"fold1": 2, "fold2": 2})
    assert count(read_corpus("table", table)) == {None: 4}
    message = r"posts\.csv has the splits 'fold1' and 'fold2', none of which .*--splits"
    with pytest.raises(DataError, match=message):
        read_training_posts(config("table", table), seed=0)


def test_a_data_set_of_other_parts_alone_is_read_whole(tmp_path):
    root = save_hugging_face(tmp_path, {"english": 2, "german": 1})
    corpus = read_corpus("hugging-face", root, splits=["train"])
    assert [(p.id, p.split) for p in corpus.posts] == [
        ("english-1", None),
        ("english-2", None),
        ("german-1", None),
    ]


def test_ids_of_joined_parts_stay_apart_and_those_of_single_ones_as_they_were(tmp_path):
    root = save_hugging_face(tmp_path, {"train": 1, "test_seen": 1, "test_unseen": 1, "val": 1})
    ids = [post.id for post in read_corpus("hugging-face", root).posts]
    assert ids == ["train-1", "test_seen-1", "test_unseen-1", "dev-1"]


def test_a_part_that_is_left_out_is_named_by_the_ids_of_its_posts(tmp_path):
    root = save_hugging_face(tmp_path, {"train": 1, "extra": 2}, id=lambda name, n: f"{name}/{n}")
    (ids,) = read_corpus("hugging-face", root).removed.values()
    assert ids == ("extra/0", "extra/1")


def test_a_wanted_part_that_is_missing_is_told_with_those_there(tmp_path):
    root = save_hugging_face(tmp_path, {"train": 1, "dev": 1})
    with pytest.raises(DataError, match="has no split test, only train, dev: choose one"):
        read_posts(config("hugging-face", root), "test")


def test_one_id_in_two_pieces_is_refused_with_both_files(tmp_path):
    line = '{"id": 1, "text": "a", "img": "a.png", "label": "x"}\n'
    root = write(tmp_path, {"dev_seen.jsonl": line, "dev_unseen.jsonl": line})
    with pytest.raises(DataError, match=r"'1' is in both dev_seen\.jsonl and dev_unseen\.jsonl"):
        read_corpus("qmf-jsonl", root)


def test_json_that_is_no_list_of_posts_is_nobodys(tmp_path):
    root = save_clmlf(tmp_path, {"train": 2})
    write(tmp_path, {"settings.json": "{}", "notes.json": "no JSON"})
    assert read_corpus("clmlf-json", root).removed == {}


def test_images_next_to_the_folders_of_splits_are_named(tmp_path):
    root = save_image_folder(tmp_path, {"train": 2})
    write(tmp_path, {"loose.PNG": b"", "readme.md": "", "old/deep/er.jpg": b"", ".git/a.png": b""})
    assert {p for ids in read_corpus("image-folder", root).removed.values() for p in ids} == {
        "loose.PNG",
        "old/deep/er.jpg",
    }


def test_a_table_next_to_the_folders_of_splits_is_refused(tmp_path):
    root = save_image_folder(tmp_path, {"train": 2})
    write(tmp_path, {"metadata.csv": "file_name,text\ntrain/a/0.png,words\n"})
    with pytest.raises(DataError, match=r"metadata\.csv next to its split folders"):
        read_corpus("image-folder", root)


def test_hfm_reads_the_published_names_and_refuses_a_second_file(tmp_path):
    root = save_hfm(tmp_path, {"train": 2, "valid2": 2, "test2": 3})
    assert count(read_corpus("hfm", root)) == {"train": 2, "dev": 2, "test": 3}
    save_hfm(tmp_path, {"train": 2, "valid": 2})
    with pytest.raises(DataError, match=r"both valid2\.txt and valid\.txt, which mean the same"):
        read_corpus("hfm", root)


@pytest.mark.parametrize("name", ["dev", "val", "Valid", "validation", "VALIDATION"])
def test_lists_of_ids_are_found_by_usual_names(name, tmp_path):
    rows = "".join(f"{n},words,{'xy'[n % 2]}\n" for n in range(9))
    write(tmp_path, {"posts.csv": "id,text,label\n" + rows})
    lists = {"training_set": "0\n1\n2\n3\n", name: "4\n5\n", "test": "6\n", "extra": "7\n"}
    write(tmp_path / "ids", {f"{stem}.txt": content for stem, content in lists.items()})
    source = config("table", tmp_path / "posts.csv", splits=str(tmp_path / "ids"))
    posts = read_training_posts(source, seed=0)
    assert [post.id for post in posts.train] == ["0", "1", "2", "3"]
    assert [post.id for post in posts.dev] == ["4", "5"]
    assert posts.unused_splits == {"test": 1}
    assert posts.removed == {"in none of the lists of ids": ("7", "8")}
    assert [post.id for post in read_posts(source, "dev").posts] == ["4", "5"]
    assert [post.id for post in read_posts(source, "extra").posts] == ["7"]
    assert [post.id for post in read_posts(source, name).posts] == ["4", "5"]
    assert count(read_all(source)) == {"train": 4, "dev": 2, "test": 1, None: 2}


def test_two_lists_of_ids_for_one_part_are_refused(tmp_path):
    write(tmp_path, {"posts.csv": "id,text,label\n0,a,x\n1,b,y\n"})
    write(tmp_path / "ids", {"train.txt": "0\n", "dev.txt": "1\n", "val.txt": "1\n"})
    source = config("table", tmp_path / "posts.csv", splits=str(tmp_path / "ids"))
    for read in (lambda: read_training_posts(source, seed=0), lambda: read_all(source)):
        with pytest.raises(DataError, match="'dev' and 'val', which both mean dev"):
            read()


def test_posts_that_no_split_puts_aside_are_all_used(tmp_path):
    rows = "".join(f"words,{'xy'[n % 2]}\n" for n in range(40))
    write(tmp_path, {"posts.csv": "text,label\n" + rows})
    posts = read_training_posts(config("table", tmp_path / "posts.csv"), seed=0)
    assert (len(posts.train), len(posts.dev), posts.unused_splits) == (36, 4, {})
