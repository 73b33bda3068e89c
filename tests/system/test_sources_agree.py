"""The same posts give the same scores, whatever kind of source they come from."""

import csv
import json
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset

from mvcn.data.prepare import prepare
from mvcn.data.table import read_table
from mvcn.training.run import train

LABELS = {"positive": 0, "neutral": 1, "negative": 2}


@pytest.fixture(scope="module")
def parts(posts_table):
    """Train and dev posts."""
    return {part: read_table(posts_table / part / "posts.csv").posts for part in ("train", "dev")}


def rows_of(parts, folder):
    """Write the images below `folder`; return one row a post, with its part."""
    rows = []
    for part, posts in parts.items():
        for post in posts:
            image = f"images/{post.id}.png"
            (folder / "images").mkdir(exist_ok=True)
            (folder / image).write_bytes(Path(post.image).read_bytes())
            rows.append(
                {"id": post.id, "text": post.text, "image": image, "label": post.label}
                | {"split": part}
            )
    return rows


def as_delimited(rows, path, separator):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=separator)
        writer.writeheader()
        writer.writerows(rows)


def write_csv(parts, folder):
    as_delimited(rows_of(parts, folder), folder / "posts.csv", ",")
    return {"root": folder / "posts.csv"}


def write_tsv(parts, folder):
    as_delimited(rows_of(parts, folder), folder / "posts.tsv", "\t")
    return {"root": folder / "posts.tsv"}


def write_jsonl(parts, folder):
    lines = [json.dumps(row) for row in rows_of(parts, folder)]
    (folder / "posts.jsonl").write_text("\n".join(lines))
    return {"root": folder / "posts.jsonl"}


def write_parquet(parts, folder):
    rows = rows_of(parts, folder)
    inside = [row | {"image": (folder / row["image"]).read_bytes()} for row in rows]
    pq.write_table(pa.Table.from_pylist(inside), folder / "posts.parquet", row_group_size=7)
    return {"root": folder / "posts.parquet"}


def write_image_folder(parts, folder):
    for part, name in (("train", "train"), ("dev", "validation")):
        (folder / name).mkdir()
        rows = rows_of({part: parts[part]}, folder / name)
        for row in rows:
            row["file_name"] = row.pop("image")
            del row["split"]
        as_delimited(rows, folder / name / "metadata.csv", ",")
    return {"name": "image-folder", "root": folder}


def write_hugging_face(parts, folder):
    rows = rows_of(parts, folder)
    features = datasets.Features(
        {name: datasets.Value("string") for name in ("id", "text", "label")}
        | {"image": datasets.Image()}
    )
    saved = {}
    for part, name in (("train", "train"), ("dev", "validation")):
        columns = {"id": [], "text": [], "label": [], "image": []}
        for row in (row for row in rows if row["split"] == part):
            content = (folder / row["image"]).read_bytes()
            row = row | {"image": {"bytes": content, "path": None}}
            for column, values in columns.items():
                values.append(row[column])
        saved[name] = datasets.Dataset.from_dict(columns, features=features)
    datasets.DatasetDict(saved).save_to_disk(str(folder / "saved"))
    return {"name": "hugging-face", "root": folder / "saved"}


def write_qmf(parts, folder):
    rows = rows_of(parts, folder)
    for part in parts:
        lines = [
            json.dumps(
                {"id": row["id"], "label": row["label"], "text": row["text"], "img": row["image"]}
            )
            for row in rows
            if row["split"] == part
        ]
        (folder / f"{part}.jsonl").write_text("\n".join(lines))
    return {"name": "qmf-jsonl", "root": folder}


def write_clmlf(parts, folder):
    rows = rows_of(parts, folder)
    (folder / "images").rename(folder / "dataset_image")
    for image in (folder / "dataset_image").iterdir():
        image.rename(image.with_suffix(".jpg"))
    for part in parts:
        entries = [
            {"id": row["id"], "text": row["text"], "emotion_label": LABELS[row["label"]]}
            for row in rows
            if row["split"] == part
        ]
        (folder / f"{part}.json").write_text(json.dumps(entries))
    return {"name": "clmlf-json", "root": folder}


def write_webdataset(parts, folder):
    rows = rows_of(parts, folder)
    for part, name in (("train", "train"), ("dev", "val")):
        with webdataset.TarWriter(str(folder / f"{name}-0.tar")) as shard:
            for row in (row for row in rows if row["split"] == part):
                sample = {"__key__": row["id"], "txt": row["text"], "cls": row["label"]}
                shard.write(sample | {"png": (folder / row["image"]).read_bytes()})
    return {"name": "webdataset", "root": folder}


def write_prepared(parts, folder):
    corpus = read_table(write_csv(parts, folder)["root"])
    prepare(corpus, folder / "prepared", dataset="table")
    return {"name": "prepared", "root": folder / "prepared"}


WRITERS = {
    "csv": write_csv,
    "tsv": write_tsv,
    "jsonl": write_jsonl,
    "parquet": write_parquet,
    "image-folder": write_image_folder,
    "hugging-face": write_hugging_face,
    "webdataset": write_webdataset,
    "prepared": write_prepared,
    "qmf": write_qmf,
    "clmlf": write_clmlf,
}


@pytest.fixture(scope="module")
def sources(parts, tmp_path_factory):
    """Kind of source -> the settings that read it."""
    return {
        kind: {"name": "table"} | write(parts, tmp_path_factory.mktemp(kind))
        for kind, write in WRITERS.items()
    }


def options(source):
    return ["--data", source["name"], "--split", "dev"]


@pytest.fixture(scope="module")
def of_first():
    """What the first kind of source gives, to which the others are compared."""
    return {}


@pytest.mark.parametrize("kind", WRITERS)
def test_evaluation_gives_the_same_scores(kind, sources, mvcn, tiny_run, tmp_path, of_first):
    source, path = sources[kind], tmp_path / "scores.json"
    code, _, errors = mvcn(
        "evaluate", tiny_run, "--root", source["root"], *options(source), "--json", path
    )
    assert code == 0, errors
    found = json.loads(path.read_text())
    assert found["n"] == 16
    assert found == of_first.setdefault("scores", found)


@pytest.mark.parametrize("kind", WRITERS)
def test_prediction_gives_the_same_probabilities(kind, sources, mvcn, tiny_run, tmp_path, of_first):
    source, path = sources[kind], tmp_path / "predictions.csv"
    command = ["predict", tiny_run, source["root"], *options(source), "--output", path]
    if source["name"] == "table":
        command.append("--no-keep-columns")
    code, _, errors = mvcn(*command)
    assert code == 0, errors
    assert path.read_text() == of_first.setdefault("predictions", path.read_text())


@pytest.fixture(scope="module")
def reports(sources, tiny_config, tmp_path_factory):
    """Kind of source -> what a short training on it reports."""
    found = {}
    for kind, source in sources.items():
        config = tiny_config(training={"epochs": 1})
        config.data.train = config.data.dev = None
        config.update({"data": source})
        found[kind] = train(config, tmp_path_factory.mktemp(f"run-{kind}")).metrics
    return found


@pytest.mark.parametrize("kind", WRITERS)
def test_training_gives_the_same_scores(kind, reports):
    """The published files of CLMLF and QMF number the polarities otherwise than the alphabet."""
    reference = "qmf" if kind in ("qmf", "clmlf") else "csv"
    assert reports[kind]["dev"] == reports[reference]["dev"]
    assert reports[kind]["posts"] == {"train": 32, "dev": 16}
