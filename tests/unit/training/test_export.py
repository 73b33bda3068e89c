"""The ONNX graphs of a run: what torch returns, for any number of posts, whatever is missing."""

import json
import re
import shutil
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import transformers

import mvcn
from mvcn.errors import RunError
from mvcn.inference.classifier import Classifier
from mvcn.inference.pipeline import TASK
from mvcn.inputs.processor import build_processor
from mvcn.model_config import ModelConfig
from mvcn.models.build import build_model
from mvcn.runtime.graphs import IMAGE_FILE, MODEL_FILE, GraphModel
from mvcn.training.export import TOLERANCE, export_run, write_graphs
from mvcn.training.run import train
from mvcn.training.run_folder import Run
from tests import tiny_encoders

CLASSES = ("a", "b", "c")


@pytest.fixture
def copy(exported_run, tmp_path):
    """A copy of the run, which a test may change."""
    folder = tmp_path / "copy"
    shutil.copytree(exported_run, folder)
    return folder


@pytest.fixture
def written(exported_run, monkeypatch):
    """Let other exports of the same weights take the graphs that are written already."""

    def write(model, processor, folder, weights):
        for name in (MODEL_FILE, IMAGE_FILE):
            shutil.copy(exported_run / name, folder)

    monkeypatch.setattr("mvcn.training.export.write_graphs", write)


@pytest.fixture
def odd_posts(generated_posts):
    """Posts with both, without a text, and without an image."""
    first, second, third, fourth, fifth = generated_posts[:5]
    incomplete = [replace(second, text=" "), replace(third, image=None)]
    return [first, *incomplete, replace(fourth, text=40 * "word "), fifth]


def shares(classifier, posts):
    """Return a row of probabilities for each post in which the model finds something to read."""
    found = classifier.predict(posts)
    return np.array([list(p.probabilities.values()) for p in found if p.probabilities])


def test_the_graph_says_what_the_model_says(exported_run, odd_posts):
    by_torch, by_onnx = (
        Classifier.from_pretrained(exported_run, backend) for backend in ("torch", "onnx")
    )
    expected = shares(by_torch, odd_posts)
    assert expected.std(0).min() > 5e-5, "posts that all look alike would prove nothing"
    np.testing.assert_allclose(shares(by_onnx, odd_posts), expected, rtol=0, atol=1e-6)
    alone = np.concatenate([shares(by_onnx, [post]) for post in odd_posts])
    np.testing.assert_allclose(alone, expected, rtol=0, atol=1e-6)
    assert by_onnx.class_names == by_torch.class_names


def test_with_images_an_encoder_that_refuses_long_texts_becomes_a_graph(
    tiny_settings, tiny_text_encoder, odd_posts, tmp_path
):
    tiny_encoders.save(tiny_encoders.TOWERS["clip"](), tmp_path, tiny_text_encoder)
    config = ModelConfig(**tiny_settings | {"text_encoder": str(tmp_path)})
    model, processor = build_model(config, CLASSES).eval(), build_processor(config)
    model.save_pretrained(tmp_path)
    write_graphs(model, processor, tmp_path, "")
    expected = shares(Classifier(model, processor), odd_posts)
    found = shares(Classifier(GraphModel(tmp_path, processor), processor), odd_posts)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_attention_is_one_operator(exported_run):
    graphs = [onnx.load(exported_run / name).graph for name in (MODEL_FILE, IMAGE_FILE)]
    kinds = Counter(node.op_type for graph in graphs for node in graph.node)
    model = Classifier.from_pretrained(exported_run, "torch").model
    encoders = model.text_encoder.config, model.image_encoder.config
    fused_units = 1
    assert kinds["Attention"] == sum(one.num_hidden_layers for one in encoders) + fused_units


def test_the_graph_is_evaluated_like_the_model(exported_run, generated_posts):
    scores = [
        Classifier.from_pretrained(exported_run, backend)
        .evaluate(generated_posts)
        .evaluation.to_mapping()
        for backend in ("torch", "onnx")
    ]
    assert scores[0]["confusion_matrix"] == scores[1]["confusion_matrix"]


def test_the_comparison_is_on_the_dev_posts_of_the_run(copy, written):
    found = export_run(Run(copy), overwrite=True)
    assert (found.posts, found.are_generated) == (16, False)
    assert found.difference <= TOLERANCE
    assert found.changed == 0
    sizes = [(copy / name).stat().st_size for name in (MODEL_FILE, IMAGE_FILE)]
    assert found.megabytes == pytest.approx(sum(sizes) / 1e6)


def test_earlier_graphs_stay_unless_they_may_be_replaced(copy):
    before = (copy / MODEL_FILE).read_bytes()
    with pytest.raises(RunError, match="--overwrite"):
        export_run(Run(copy))
    assert (copy / MODEL_FILE).read_bytes() == before


def test_without_its_dev_posts_a_run_is_compared_on_generated_ones(copy, written):
    config = copy / "config.yaml"
    config.write_text(config.read_text("utf-8").replace("posts.csv", "gone.csv"), "utf-8")
    assert export_run(Run(copy), overwrite=True).are_generated


def test_graphs_that_differ_are_not_kept(copy, written, monkeypatch):
    before = (copy / MODEL_FILE).read_bytes()
    monkeypatch.setattr("mvcn.training.export.TOLERANCE", -1.0)
    with pytest.raises(RunError, match="differ from its model"):
        export_run(Run(copy), overwrite=True)
    assert (copy / MODEL_FILE).read_bytes() == before
    assert not [path for path in copy.iterdir() if path.name.startswith("tmp")]


def test_a_graph_that_is_not_there_or_damaged_is_refused(copy):
    (copy / MODEL_FILE).unlink()
    with pytest.raises(RunError, match=r"write both again with mvcn export .*copy --overwrite"):
        Classifier.from_pretrained(copy, "onnx")
    (copy / MODEL_FILE).write_bytes(b"half of a file")
    with pytest.raises(RunError, match="is damaged"):
        Classifier.from_pretrained(copy, "onnx")


def test_a_training_ends_with_graphs(tiny_config, tmp_path, caplog):
    caplog.set_level("INFO")
    run = train(
        tiny_config(model={"network": "resnet"}, training={"epochs": 1, "export": True}),
        tmp_path / "run",
    )
    assert isinstance(Classifier.from_pretrained(run.folder).model, GraphModel)
    assert re.search(r"Wrote ONNX graphs of \d+ MB in \d+ s\.", caplog.text)


def test_a_training_whose_network_has_no_graphs_ends_well(tiny_config, tmp_path, caplog):
    config = tiny_config(model={"network": "text-cnn"}, training={"epochs": 1, "export": True})
    assert train(config, tmp_path / "run").is_finished
    assert "No ONNX graphs were written: The network 'text-cnn' cannot become" in caplog.text
    assert not list((tmp_path / "run").glob("*.onnx"))


def with_max_tokens(run, folder, max_tokens):
    """Return a copy of a run whose processor keeps so many word pieces."""
    shutil.copytree(run, folder)
    path = folder / "processor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"max_tokens": max_tokens}))
    return folder


def test_a_run_that_keeps_more_tokens_than_its_encoder_reads_cuts_texts_to_them(
    exported_run, generated_posts, tmp_path, caplog
):
    """The tiny encoder has 128 positions."""
    post = replace(generated_posts[0], text=200 * "a ")
    run_of = {n: with_max_tokens(exported_run, tmp_path / str(n), n) for n in (127, 128, 300)}
    with pytest.raises(AssertionError):  # so that the 128th word makes a difference
        compare_backends(run_of[128], run_of[127], post)
    compare_backends(run_of[300], run_of[128], post)
    assert any("at most 128 word pieces, fewer than the 300" in m for m in caplog.messages)


def compare_backends(one, other, post):
    expected = shares(Classifier.from_pretrained(other), [post])
    for backend in ("torch", "onnx"):
        found = shares(Classifier.from_pretrained(one, backend), [post])
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    pipe = transformers.pipeline(TASK, str(one))
    answers = {
        answer["label"]: answer["score"]
        for answer in pipe({"text": post.text, "image": post.image})
    }
    names = Classifier.from_pretrained(one).class_names
    np.testing.assert_allclose([answers[name] for name in names], expected[0], rtol=0, atol=1e-6)


def test_graphs_do_not_name_files_of_this_machine(exported_run):
    """The exporter of PyTorch notes the line of code that each node comes from."""
    graphs = [path.read_bytes() for path in exported_run.glob("*.onnx")]
    assert len(graphs) == 2
    places = (sys.prefix, str(Path(mvcn.__file__).parent), 'File "')
    assert not [place for place in places if any(place.encode() in graph for graph in graphs)]
