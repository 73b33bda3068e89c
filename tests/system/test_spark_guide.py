"""The recipe for Spark runs as it stands in the guide, where Spark is installed."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mvcn.inference.classifier import Classifier
from mvcn.types import Post
from scripts.studies.bulk_faults import write_posts

WHY = "pyspark (490 MB, needs Java 17) is not installed: pip install pyspark runs this"
BEGIN = """
from pyspark.sql import SparkSession
RUN, POSTS, SCORES = {paths!r}
spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", False).getOrCreate()
"""


@pytest.mark.skipif(find_spec("pyspark") is None, reason=WHY)
def test_spark_gives_the_scores_of_the_classifier(tiny_run, tmp_path):
    posts = write_posts(tmp_path / "posts", files=2, rows=20)
    (code,) = re.findall(r"```python\n(.*?)```", Path("docs/how-to/bulk.md").read_text(), re.DOTALL)
    paths = tuple(map(str, (tiny_run, posts, tmp_path / "scores")))
    # Spark's two halves talk over the loopback interface, which this process must not use.
    here = {"SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable}
    subprocess.run(
        [sys.executable, "-c", BEGIN.format(paths=paths) + code],
        check=True,
        env={**os.environ, **here},
    )
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
