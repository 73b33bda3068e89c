"""The recipe for Spark runs as it stands in the guide, where Spark is installed."""

import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mvcn.inference import Classifier
from mvcn.types import Post
from scripts.bulk_faults import write_posts

WHY = "pyspark (490 MB, needs Java 17) is not installed: pip install pyspark runs this"


def test_spark_gives_the_scores_of_the_classifier(tiny_run, tmp_path, monkeypatch):
    sql = pytest.importorskip("pyspark.sql", reason=WHY)
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    (code,) = re.findall(r"```python\n(.*?)```", Path("docs/how-to/bulk.md").read_text(), re.DOTALL)
    posts = write_posts(tmp_path / "posts", files=2, rows=20)
    spark = sql.SparkSession.builder.master("local[1]").config("spark.ui.enabled", False)
    session = spark.getOrCreate()
    try:
        exec(code, {"spark": session, "RUN": str(tiny_run), "POSTS": str(posts)} | scores(tmp_path))
    finally:
        session.stop()
    rows = {row["id"]: row for row in pq.read_table(tmp_path / "scores").to_pylist()}
    given = {row["id"]: row for row in pq.read_table(posts).to_pylist()}
    assert rows.keys() == given.keys()
    good = [key for key in given if not key.endswith("-post-00000")]
    found = Classifier.from_pretrained(tiny_run).predict(
        [Post(key, given[key]["text"], given[key]["image"]) for key in good]
    )
    for prediction in found:
        row = rows[prediction.id]
        assert row["confidence"] == pytest.approx(max(prediction.probabilities.values()), abs=1e-5)
        assert (row["label"], row["problem"]) == (prediction.label, None)
    assert {rows[key]["label"] for key in given if key not in good} == {None}


def scores(folder):
    return {"SCORES": str(folder / "scores")}
