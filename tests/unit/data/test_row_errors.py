"""Tests of the errors of rows: laws of the collection, and every reader that reports them."""

import json

import pytest

from mvcn.data.datasets import read_corpus
from mvcn.data.published_folds import read_fold
from mvcn.data.row_errors import RowErrors
from mvcn.data.splits import read_ids
from mvcn.errors import DataError
from tests.unit.data.written_files import write


def collected(count):
    errors = RowErrors("posts.csv")
    for number in range(count):
        with errors.collect():
            raise DataError(f"row {number} is bad.")
    return errors


def test_good_rows_raise_nothing():
    collected(0).require_none()


def test_one_bad_row_is_its_own_error():
    with pytest.raises(DataError, match=r"^row 0 is bad\.$"):
        collected(1).require_none()


@pytest.mark.parametrize(
    ("count", "last"),
    [
        (2, "row 1 is bad."),
        (10, "row 9 is bad."),
        (11, "and 1 more row."),
        (25, "and 15 more rows."),
    ],
)
def test_ten_are_named_and_all_are_counted(count, last):
    with pytest.raises(DataError) as caught:
        collected(count).require_none()
    head, *lines = str(caught.value).splitlines()
    assert head == f"posts.csv has {count} bad rows:"
    assert lines == [*[f"  row {number} is bad." for number in range(min(count, 10))], *lines[10:]]
    assert lines[-1].strip() == last


def test_what_is_not_about_a_row_is_raised_at_once():
    with pytest.raises(ZeroDivisionError), collected(1).collect():
        _ = 1 / 0


def entry(post_id, label=0):
    return {"id": post_id, "text": "a", "emotion_label": label}


IMAGES = {"dataset_image/1.jpg": ""}
BAD = {
    "mvsa-single": {"labelResultAll.txt": "ID\ttext,image\n1\tglad,glad\nx\tneutral,neutral\n"},
    "mvsa-single without texts": {
        "labelResultAll.txt": "ID\ttext,image\n1\tneutral,neutral\n2\tneutral,neutral\n"
    },
    "hfm": {"text/train.txt": "['1', 'a', 2]\nwhat\n['3', 'a', 1]\n"},
    "hfm with attributes": {
        "text/train.txt": "['1', 'a', 1]\n",
        "extract/extract_all": "[1]\n[]\n",
    },
    "clmlf-json": {"train.json": json.dumps([entry("1", 3), entry(""), entry("3")]), **IMAGES},
    "clmlf-json twice": {
        "train.json": json.dumps([entry("1"), entry("2")]),
        "dev.json": json.dumps([entry("1"), entry("2")]),
        **IMAGES,
    },
    "qmf-jsonl": {"train.jsonl": '{"id": 1\n[]\n'},
    "qmf-jsonl twice": {
        f"{split}.jsonl": '{"id": 1, "text": "a", "img": "", "label": "x"}\n'
        '{"id": 2, "text": "b", "img": "", "label": "y"}\n'
        for split in ("train", "dev")
    },
    "image-folder": {"cat/a.png": "", "dog/note.md": "", "bird/note.md": ""},
    "image-folder with loose images": {"cat/a.png": "", "dog/b.png": "", "1.png": "", "2.png": ""},
    "image-folder with two texts": {
        f"cat/{name}": "a" for name in ("1.png", "1.txt", "1.TXT", "2.png", "2.txt", "2.TXT")
    },
}


@pytest.mark.parametrize("kind", BAD)
def test_every_dataset_reports_its_bad_rows_together(kind, tmp_path):
    write(tmp_path, BAD[kind])
    with pytest.raises(DataError, match=r" has 2 bad rows:\n.+\n.+$"):
        read_corpus(kind.split()[0], tmp_path)


TABLES = {
    "posts.jsonl": '{"text": \n{"text": "a"}\n[1]\n',
    "posts.json": '[1, {"text": "a"}, 2]',
    "twice.jsonl": '{"text": "a", "text": "b"}\n{"text": "a", "text": "b"}\n',
    "twice.json": '[{"text": "a", "text": "b"}, {"text": "a", "text": "b"}]',
}


@pytest.mark.parametrize("name", TABLES)
def test_json_reports_its_bad_rows_together(name, tmp_path):
    write(tmp_path, {name: TABLES[name]})
    with pytest.raises(DataError, match=rf"{name} has 2 bad rows:\n.+\n.+$"):
        read_corpus("table", tmp_path / name)


def test_a_list_of_ids_reports_its_bad_lines_together(tmp_path):
    write(tmp_path, {"dev.txt": "1\n2\n1\n2\n3\n"})
    with pytest.raises(DataError, match=r"dev\.txt has 2 bad rows:\n.+line 3.+\n.+line 4"):
        read_ids(tmp_path / "dev.txt")


@pytest.mark.parametrize(
    "changed",
    [{"valid_pairlist.txt": "1,0,0,7\n2,0\n"}, {"splits/train_1.txt": "0\n9\n8\n"}],
)
def test_published_folds_report_their_bad_lines_together(changed, tmp_path):
    good = {
        "valid_pairlist.txt": "1,0,0,0\n2,1,1,1\n3,2,2,2\n",
        "splits/train_1.txt": "0\n",
        "splits/val_1.txt": "1\n",
        "splits/test_1.txt": "2\n",
    }
    write(tmp_path, good | changed)
    with pytest.raises(DataError, match=r" has 2 bad rows:\n.+\n.+$"):
        read_fold(tmp_path, 1)
