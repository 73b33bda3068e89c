"""One post, one answer: whichever way a trained model is asked."""

import csv
import shutil
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import transformers
from starlette.testclient import TestClient

from mvcn import Classifier
from mvcn.data.table import read_table
from mvcn.serve.answering import ServedRun
from mvcn.serve.application import create_app
from mvcn.serve.limits import Limits
from tests.system.ray_engine import needs_ray

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def table(posts_table, tmp_path_factory):
    """Posts with a text and an image, with an image alone, and with a text alone."""
    folder = tmp_path_factory.mktemp("same") / "posts"
    path = shutil.copytree(posts_table / "dev", folder) / "posts.csv"
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    rows[3]["text"], rows[5]["image"] = "", ""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(scope="module")
def posts(table):
    return list(read_table(table).posts)


@pytest.fixture(scope="module")
def classifier(tiny_run):
    return Classifier.from_pretrained(tiny_run)


@pytest.fixture(scope="module")
def expected(classifier, posts):
    """Class -> probability of each post, asked for by itself."""
    return [dict(classifier.predict_one(p.text, p.image).probabilities) for p in posts]


def agree(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, abs=TOLERANCE)


def named(rows, classes):
    """Return the probabilities of rows of a table that the tool has written."""
    return [{name: float(row[f"probability_{name}"]) for name in classes} for row in rows]


def test_the_model_is_one_whose_probabilities_need_the_temperature(classifier):
    assert abs(classifier.model.config.temperature - 1) > 0.01


def test_python_gives_the_same_for_many_posts_at_once(classifier, posts, expected):
    agree([dict(one.probabilities) for one in classifier.predict(posts)], expected)


def test_the_command_line_gives_the_same(mvcn, tiny_run, table, expected, tmp_path):
    code, _, _ = mvcn("predict", tiny_run, table, "--output", tmp_path / "out.csv")
    assert code == 0
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        agree(named(csv.DictReader(file), expected[0]), expected)


@pytest.mark.parametrize("batch_size", [1, 5])
def test_the_pipeline_gives_the_same(tiny_run, posts, expected, batch_size):
    ask = transformers.pipeline("image-text-classification", model=str(tiny_run))
    given = [{"text": post.text, "image": post.image} for post in posts]
    answers = ask(given, batch_size=batch_size)
    agree([{one["label"]: one["score"] for one in answer} for answer in answers], expected)


def test_the_service_gives_the_same(tiny_run, posts, expected):
    answers = []
    with TestClient(create_app(ServedRun(tiny_run), Limits())) as client:
        while client.get("/ready").status_code != 200:
            time.sleep(0.02)
        for post in posts:
            if post.image is None:
                asked = {"json": {"posts": [{"text": post.text}]}}
            else:
                image = {"image": post.image.read_bytes()}
                asked = {"data": {"text": post.text}, "files": image}
            answers += client.post("/predict", **asked).json()["predictions"]
    agree([answer["probabilities"] for answer in answers], expected)


@pytest.mark.filterwarnings("ignore:.*ray_remote_args", "ignore::DeprecationWarning:ray")
@pytest.mark.parametrize(
    "command",
    [
        ("bulk",),
        ("predict", "--engine=local"),
        pytest.param(("bulk", "--engine", "ray"), marks=needs_ray),
    ],
)
def test_a_job_over_parquet_gives_the_same(mvcn, tiny_run, posts, expected, tmp_path, command):
    images = [post.image.read_bytes() if post.image else None for post in posts]
    columns = {"id": [post.id for post in posts], "text": [post.text for post in posts]}
    pq.write_table(pa.table(columns | {"image": images}), tmp_path / "posts.parquet")
    output = ("--jobs", 1, "--output", tmp_path / "scores")
    code, _, errors = mvcn(*command, tiny_run, tmp_path / "posts.parquet", *output)
    assert code == 0, errors
    rows = pq.read_table(tmp_path / "scores" / "predictions").to_pylist()
    assert [row["id"] for row in rows] == columns["id"]
    agree(named(rows, expected[0]), expected)
