"""Every command and way to ask a run, for an ensemble with and without dev posts."""

import csv
import json
import re
import shutil
import time

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
import transformers
from starlette.testclient import TestClient

from mvcn.data.synthetic import generate_posts, write_table
from mvcn.inference.classifier import Classifier
from mvcn.inference.pipeline import TASK
from mvcn.serve.answering import ServedRun
from mvcn.serve.application import create_app
from mvcn.serve.limits import Limits
from mvcn.training.run import train
from mvcn.training.run_folder import Run

MEMBERS = 2


@pytest.fixture(scope="module")
def without_dev(tiny_ensemble, tmp_path_factory):
    """A copy: reports and graphs are kept in the run folder."""
    return shutil.copytree(tiny_ensemble, tmp_path_factory.mktemp("runs") / "folds")


@pytest.fixture(scope="module")
def with_dev(tiny_config, tmp_path_factory):
    training = {"members": MEMBERS, "epochs": 1}
    config = tiny_config(model={"frozen_text_layers": 1}, training=training)
    return train(config, tmp_path_factory.mktemp("runs") / "scored").folder


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("new")
    write_table(generate_posts(6, seed=9), folder)
    return folder / "posts.csv"


def text_of(mvcn, run, tmp_path):
    assert mvcn("report", run, "--output", tmp_path / "report.html")[0] == 0
    return (tmp_path / "report.html").read_text("utf-8")


def test_the_report_has_the_scores_out_of_fold_and_no_map_of_learned_posts(
    mvcn, without_dev, tmp_path
):
    text, scores = text_of(mvcn, without_dev, tmp_path), Run(without_dev).evaluation
    assert f"{scores['n']} posts, each predicted by the one of {MEMBERS} members" in text
    for name in ("accuracy", "f1_weighted", "f1_macro"):
        assert f">{100 * scores[name]:.0f}<" in text
    assert "There is no map without dev posts" in text
    assert "How much members disagree is not shown" in text
    assert "t-SNE" not in text
    assert f"one line for each of {MEMBERS} members" in text
    assert "Dev scores over the epochs" not in text
    assert "near-duplicate among the training texts" not in text
    assert "for the member that was not trained on the post" in text


def test_cards_of_the_report_have_the_prediction_out_of_fold(mvcn, without_dev, tmp_path):
    text = text_of(mvcn, without_dev, tmp_path)
    predicted = {row["id"]: row["predicted"] for row in Run(without_dev).predictions()}
    shown = re.findall(
        r'predicted <span class="\w+">(\w+)</span></h3>.*?>Post ([\w-]+):', text, re.S
    )
    assert len(shown) > 5
    assert all(predicted[post_id] == name for name, post_id in shown)


def test_the_report_of_a_run_with_dev_posts_has_their_map_and_both_curves(mvcn, with_dev, tmp_path):
    text, dev = text_of(mvcn, with_dev, tmp_path), Run(with_dev).metrics["dev"]
    assert f"On the {dev['n']} dev posts, which no member was trained on" in text
    assert f"an accuracy of {100 * dev['accuracy']:.0f} %" in text
    assert "Two maps of the dev posts, by t-SNE and by PCA" in text
    assert "by high disagreement" in text
    assert "dev posts, predicted by all members together" in text


@pytest.mark.parametrize(("kind", "split"), [("without_dev", "train"), ("with_dev", "dev")])
def test_a_run_is_explained_on_dev_posts_or_says_that_its_posts_were_learned(
    mvcn, request, tmp_path, kind, split
):
    run = request.getfixturevalue(kind)
    code, _, errors = mvcn("explain", run, "--sample", 2, "--output", tmp_path / "out")
    assert code == 0
    assert ("which it was trained on" in errors) == (split == "train")
    (found,) = json.loads((tmp_path / "out/explanation.json").read_text())["runs"].values()
    assert found["split"] == split
    assert 0 <= found["zeros_in_attention"] < 1
    assert set(found["faithfulness"]) >= {"attention", "gradient", "occlusion"}


def test_a_single_post_of_the_run_is_explained(mvcn, fails, without_dev, tmp_path):
    post = Run(without_dev).predictions()[0]["id"]
    out = ("--output", tmp_path / "out")
    assert mvcn("explain", without_dev, "--post", post, *out)[0] == 0
    (found,) = json.loads((tmp_path / "out/explanation.json").read_text())["posts"]
    assert post not in {near["id"] for near in found["neighbours"]}
    assert set(found["attention"]) == {"sparsemax", "softmax"}
    row = Run(without_dev).predictions()[0]  # of the member that was not trained on the post
    expected = {name: float(row[f"probability_{name}"]) for name in found["probabilities"]}
    assert found["probabilities"] == pytest.approx(expected, abs=1e-5)
    everyone = Classifier.from_pretrained(without_dev)
    posts = [post for post in Run(without_dev).posts.train if post.id == row["id"]]
    assert next(everyone.predict(posts)).probabilities != pytest.approx(expected, abs=1e-3)
    assert "The training posts of" in fails("explain", without_dev, "--post", "nobody", *out)


def test_a_table_of_predictions_ends_with_the_disagreement(mvcn, without_dev, table, tmp_path):
    output = tmp_path / "out.csv"
    command = ("predict", without_dev, table, "--output", output)
    assert mvcn(*command)[0] == 0
    with output.open(newline="") as file:
        rows = list(csv.DictReader(file))
    *_, last = rows[0]
    assert last == "disagreement"
    assert all(0 < float(row["disagreement"]) <= 0.5 for row in rows)
    assert mvcn(*command, "--overwrite")[0] == 0


def test_a_single_prediction_says_the_disagreement(mvcn, without_dev):
    _, output, _ = mvcn("predict", without_dev, "--text", "what a day")
    assert re.search(r"Disagreement of the members: 0\.\d{3}\n", output)


def test_a_bulk_job_has_the_same_numbers(mvcn, without_dev, table, tmp_path):
    posts = tmp_path / "posts.parquet"
    assert mvcn("predict", without_dev, table, "--output", tmp_path / "all.parquet")[0] == 0
    rows = pq.read_table(tmp_path / "all.parquet")
    pq.write_table(rows.select(["id", "text"]), posts)
    command = ("bulk", without_dev, posts, "--output", tmp_path / "job", "--jobs", 1)
    assert mvcn(*command)[0] == 0
    (file,) = (tmp_path / "job/predictions").glob("*.parquet")
    found = pq.read_table(file)
    assert found.column_names[-1] == "disagreement"
    assert min(found["disagreement"].to_pylist()) > 0


def test_evaluate_says_which_reason_to_abstain_is_better(mvcn, without_dev, table, tmp_path):
    scores = tmp_path / "scores.json"
    code, output, _ = mvcn("evaluate", without_dev, "--root", table, "--json", scores)
    assert code == 0
    assert re.search(r"get no label: \d+\.\d % by probability, \d+\.\d % by disagreement\.", output)
    areas = json.loads(scores.read_text())["area_under_risk_coverage"]
    assert set(areas) == {"probability", "disagreement"}


def test_the_graph_has_the_shared_layers_once_and_the_same_answers(
    mvcn, without_dev, generated_posts
):
    code, output, _ = mvcn("export", without_dev)
    assert code == 0
    assert "posts of the run" in output
    assert difference(without_dev, "onnx", generated_posts) < 1e-5
    image_layers, shared, own = 2, 1, 1  # and one text-guided unit a member
    graphs = [without_dev / "model.onnx", without_dev / "image.onnx"]
    nodes = [node for path in graphs for node in onnx.load(path).graph.node]
    attentions = [node for node in nodes if node.op_type == "Attention"]
    assert len(attentions) == image_layers + shared + MEMBERS * (own + 1)


def difference(run, backend, posts):
    rows = [
        [
            [*one.probabilities.values(), one.disagreement]
            for one in Classifier.from_pretrained(run, name).predict(posts)
        ]
        for name in ("torch", backend)
    ]
    return np.abs(np.subtract(*rows)).max()


def test_service_and_pipeline_say_the_disagreement(without_dev, generated_posts):
    post = generated_posts[0]
    expected = Classifier.from_pretrained(without_dev).predict_one(post.text, post.image)
    with TestClient(create_app(ServedRun(without_dev), Limits())) as client:
        while client.get("/ready").status_code != 200:
            time.sleep(0.02)
        answer = client.post("/predict", data={"text": post.text}, files={"image": post.image})
        assert client.get("/model").json()["members"] == MEMBERS
    (found,) = answer.json()["predictions"]
    assert found["disagreement"] == pytest.approx(expected.disagreement, abs=1e-6)
    pipe = transformers.pipeline(TASK, model=str(without_dev))
    best, *others = pipe({"text": post.text, "image": post.image})
    assert best["label"] == expected.label
    assert best["disagreement"] == pytest.approx(expected.disagreement, abs=1e-6)
    assert not any("disagreement" in one for one in others)
