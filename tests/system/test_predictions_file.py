"""The file of predictions: a table's own columns as they were, then the class and probabilities."""

import csv
import json

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

COLUMNS = ["lang", "Tweet", "", "likes", "post_id"]
ROWS = [
    ["en", 'so "good", so\nbad', "0", "3", "p1"],
    ["de", "schön", "1", "", "p2"],
    ["", "", "2", "7", "p3"],
]


@pytest.fixture
def table(tmp_path):
    with (tmp_path / "posts.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=";").writerows([COLUMNS, *ROWS])
    return tmp_path / "posts.csv"


def read_delimited(path, delimiter):
    with path.open(newline="", encoding="utf-8") as file:
        return [list(row) for row in csv.reader(file, delimiter=delimiter)]


def read_json_lines(path):
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [list(rows[0]), *(list(row.values()) for row in rows)]


def read_parquet(path):
    table = pq.read_table(path)
    return [table.column_names, *(list(row.values()) for row in table.to_pylist())]


def read_excel(path):
    return [list(row) for row in openpyxl.load_workbook(path).active.iter_rows(values_only=True)]


READERS = {
    ".csv": lambda path: read_delimited(path, ","),
    ".tsv": lambda path: read_delimited(path, "\t"),
    ".jsonl": read_json_lines,
    ".parquet": read_parquet,
    ".xlsx": read_excel,
}


@pytest.mark.parametrize("suffix", READERS)
def test_a_table_keeps_its_columns_in_every_format(suffix, mvcn, tiny_run, table, tmp_path):
    out = tmp_path / f"out{suffix}"
    code, output, errors = mvcn("predict", tiny_run, table, "--output", out)
    assert code == 0
    assert "separator semicolon" in errors
    assert "Wrote 2 predictions" in output
    header, *rows = READERS[suffix](out)
    assert [name or "" for name in header[:6]] == [*COLUMNS, "label"]
    assert all(name.startswith("probability_") for name in header[6:])
    assert [[cell or "" for cell in row[:5]] for row in rows] == ROWS
    classes = [name.removeprefix("probability_") for name in header[6:]]
    assert all(row[5] in classes for row in rows[:2])
    assert not any(rows[2][5:])  # there is nothing to read
    assert sum(map(float, rows[0][6:])) == pytest.approx(1)


def test_columns_can_be_left_out(mvcn, fails, tiny_run, table, posts_table, tmp_path):
    out = tmp_path / "out.csv"
    assert mvcn("predict", tiny_run, table, "--output", out, "--no-keep-columns")[0] == 0
    assert read_delimited(out, ",")[0][:2] == ["id", "label"]
    data = ("--data", "prepared", "--keep-columns")
    assert "--keep-columns only works with --data table" in fails(
        "predict", tiny_run, posts_table, *data, "--output", tmp_path / "other.csv"
    )


def test_a_column_of_ours_that_is_there_is_kept_and_ours_is_renamed(mvcn, tiny_run, tmp_path):
    (tmp_path / "a.csv").write_text("text,label\nso good,mine\n")
    out = tmp_path / "out.csv"
    code, output, _ = mvcn("predict", tiny_run, tmp_path / "a.csv", "--output", out)
    assert code == 0
    assert "the class is in the column 'predicted_label'" in output
    header, row = read_delimited(out, ",")
    assert header[:4] == ["id", "text", "label", "predicted_label"]
    assert row[:3] == ["1", "so good", "mine"]
    assert mvcn("predict", tiny_run, tmp_path / "a.csv", "--output", out, "--overwrite")[0] == 0


def test_a_label_of_another_name_cannot_be_taken_for_a_prediction(mvcn, tiny_run, tmp_path):
    (tmp_path / "a.csv").write_text("text,sentiment\nso good,mine\n")
    first, second = tmp_path / "out.csv", tmp_path / "again.csv"
    assert mvcn("predict", tiny_run, tmp_path / "a.csv", "--output", first)[0] == 0
    assert read_delimited(first, ",")[0][:4] == ["id", "text", "sentiment", "predicted_label"]
    assert mvcn("predict", tiny_run, first, "--output", second)[0] == 0
    header = read_delimited(second, ",")[0]
    assert len(set(header)) == len(header)
    assert "predicted_predicted_label" in header
    code, _, errors = mvcn("prepare", "--root", first, "--output", tmp_path / "prepared")
    assert code == 0
    assert "label from 'sentiment'" in errors


def test_columns_that_are_not_read_are_kept_whatever_is_in_them(mvcn, tiny_run, tmp_path):
    line = '{"text": "so good", "lang": "en", "lang": "de", "geo": NaN, "user": "\\ud83d"}\n'
    (tmp_path / "a.jsonl").write_text(line)
    out = tmp_path / "out.csv"
    assert mvcn("predict", tiny_run, tmp_path / "a.jsonl", "--output", out)[0] == 0
    header, row = read_delimited(out, ",")
    assert dict(zip(header[1:5], row[1:5], strict=True)) == {
        "text": "so good",
        "lang": "de",
        "geo": "",
        "user": "\ufffd",
    }


def test_parts_and_lists_of_ids_keep_the_rows_of_their_posts(mvcn, tiny_run, tmp_path):
    (tmp_path / "a.csv").write_text("id,text,split,n\na,one,dev,1\nb,two,train,2\nc,three,dev,3\n")
    (tmp_path / "dev.txt").write_text("c\na\n")
    out = tmp_path / "out.csv"
    command = ("predict", tiny_run, tmp_path / "a.csv", "--output", out, "--overwrite")
    assert mvcn(*command, "--split", "dev")[0] == 0
    assert [row[:4] for row in read_delimited(out, ",")[1:]] == [
        ["a", "one", "dev", "1"],
        ["c", "three", "dev", "3"],
    ]
    assert mvcn(*command, "--split", "dev", "--splits", tmp_path)[0] == 0
    assert [row[0] for row in read_delimited(out, ",")[1:]] == ["c", "a"]


def test_whole_images_in_a_table_are_not_copied(mvcn, tiny_run, generated_posts, tmp_path):
    posts = generated_posts[:2]
    images = [{"bytes": post.image, "path": "a.png"} for post in posts]
    columns = {"text": [p.text for p in posts], "image": images, "date": ["today", None]}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    out = tmp_path / "out.parquet"
    code, _, errors = mvcn("predict", tiny_run, tmp_path / "a.parquet", "--output", out)
    assert code == 0
    assert pq.read_table(out).column_names[:4] == ["id", "text", "date", "label"]
    assert "'image' is not kept, because its cells are image files" in errors
    assert pq.read_table(out)["date"].to_pylist() == ["today", None]


def test_a_run_remembers_which_columns_it_has_read(mvcn, tiny_options, tmp_path):
    """As the first table had its own names, so have those to predict for and to evaluate."""
    rows = [
        f"{n},1,{'so good' if n % 2 else 'so bad'},{'pos' if n % 2 else 'neg'}" for n in range(40)
    ]
    table = tmp_path / "posts.csv"
    table.write_text("\n".join(["nr,id,words,mood", *rows]))
    run = tmp_path / "run"
    columns = ("--columns", "text=words,label=mood,id=")
    code, _, errors = mvcn("train", "--train", table, "--output", run, *columns, *tiny_options)
    assert code == 0
    assert "text from 'words', label from 'mood'; not read: 'nr', 'id'." in errors
    assert json.loads((run / "metrics.json").read_text())["columns"] == {
        "id": "",
        "text": "words",
        "label": "mood",
    }
    assert "Columns read: text from words, label from mood." in (run / "README.md").read_text()
    code, _, errors = mvcn("predict", run, table, "--output", tmp_path / "out.csv")
    assert code == 0
    assert "text from 'words'; not read: 'nr', 'id', 'mood'." in errors
    assert mvcn("evaluate", run, "--root", table)[0] == 0
