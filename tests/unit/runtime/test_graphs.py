"""Graphs are taken where they belong to the weights, compute only what a post has, on any cores."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file, save_file

from mvcn.errors import ConfigError, RunError
from mvcn.inference.classifier import Classifier
from mvcn.models.classification import MvcnForClassification
from mvcn.runtime.graphs import WEIGHTS_FILE, GraphModel, ModelConfig, weights_digest
from mvcn.runtime.saved_processor import SavedProcessor


@pytest.fixture
def other_weights(exported_run, tmp_path):
    """Return a copy of the run in which one weight of one tensor is another."""
    folder = tmp_path / "run"
    shutil.copytree(exported_run, folder)
    tensors = load_file(folder / WEIGHTS_FILE)
    name = max(tensors)
    tensors[name].flatten()[0] += 1
    save_file(tensors, folder / WEIGHTS_FILE, {"format": "pt"})
    return folder


def rows(classifier, posts):
    return np.array([list(one.probabilities.values()) for one in classifier.predict(posts)])


def test_graphs_of_the_weights_are_taken_unasked(exported_run):
    assert isinstance(Classifier.from_pretrained(exported_run).model, GraphModel)
    assert isinstance(
        Classifier.from_pretrained(exported_run, "torch").model, MvcnForClassification
    )


def test_graphs_of_other_weights_are_not_taken(exported_run, other_weights, caplog):
    assert weights_digest(other_weights) != weights_digest(exported_run)
    assert isinstance(Classifier.from_pretrained(other_weights).model, MvcnForClassification)
    assert "is used with PyTorch, since its ONNX graphs were made from other weights" in caplog.text
    with pytest.raises(RunError, match=r"mvcn export .* --overwrite"):
        Classifier.from_pretrained(other_weights, "onnx")


def test_graphs_need_no_weights_beside_them(exported_run, tmp_path, generated_posts):
    folder = tmp_path / "light"
    shutil.copytree(exported_run, folder)
    (folder / WEIGHTS_FILE).unlink()
    classifier, posts = Classifier.from_pretrained(folder), generated_posts[:4]
    np.testing.assert_array_equal(
        rows(classifier, posts), rows(Classifier.from_pretrained(exported_run), posts)
    )


def test_without_pytorch_and_graphs_that_fit_a_run_says_what_to_do(
    tiny_run, exported_run, other_weights, monkeypatch
):
    monkeypatch.setattr("mvcn.errors.find_spec", lambda name: None)
    assert isinstance(Classifier.from_pretrained(exported_run).model, GraphModel)
    for folder, why in (
        (tiny_run, "it has no ONNX graphs"),
        (other_weights, "made from other weights"),
    ):
        with pytest.raises(ConfigError, match=rf"{why} \(mvcn export .*pip install .*'.\[train\]'"):
            Classifier.from_pretrained(folder)


@pytest.mark.parametrize("threads", [1, 3])
def test_any_number_of_threads_gives_the_same(exported_run, generated_posts, threads):
    posts = [*generated_posts[:40], replace(generated_posts[0], image=None)]
    expected = rows(Classifier.from_pretrained(exported_run, "torch"), posts)
    graphs = GraphModel(exported_run, SavedProcessor(exported_run), threads=threads)
    found = rows(Classifier(graphs, graphs.processor), posts)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_the_image_encoder_runs_once_for_each_image_and_no_other_post(
    exported_run, generated_posts, monkeypatch
):
    graphs, ran = GraphModel(exported_run, SavedProcessor(exported_run)), Counter()
    for name in ("_graph", "_image_graph"):
        monkeypatch.setattr(graphs, name, Counted(getattr(graphs, name), name, ran))
    with_image, without = generated_posts[:3], [replace(p, image=None) for p in generated_posts]
    list(Classifier(graphs, graphs.processor).predict([*without[:20], *with_image]))
    assert ran == {"_image_graph": 3, "_graph": 2}  # a batch is of 16 posts


@pytest.mark.parametrize(("posts", "runs"), [(1, 1), (4, 2), (5, 2), (40, 3)])
def test_a_few_posts_occupy_all_threads(exported_run, generated_posts, monkeypatch, posts, runs):
    graphs, ran = GraphModel(exported_run, SavedProcessor(exported_run), threads=2), Counter()
    monkeypatch.setattr(graphs, "_graph", Counted(graphs._graph, "_graph", ran))
    list(Classifier(graphs, graphs.processor).predict(generated_posts[:posts]))
    assert ran["_graph"] == runs


class Counted:
    """A graph whose runs are counted."""

    def __init__(self, graph, name, ran):
        self.graph, self.name, self.ran = graph, name, ran

    def __getattr__(self, name):
        return getattr(self.graph, name)

    def run(self, *arguments):
        self.ran[self.name] += 1
        return self.graph.run(*arguments)


def test_the_saved_configuration_gives_the_probabilities_of_the_model(exported_run):
    config = ModelConfig.load(exported_run)
    model = Classifier.from_pretrained(exported_run, "torch").model
    assert config.class_names == model.class_names
    logits = np.random.default_rng(0).normal(size=(5, len(config.class_names))) * 30
    for offsets in (None, [0.5] * (len(config.class_names) - 1) + [-3.0]):
        config.logit_offsets = offsets
        scaled = torch.from_numpy(logits) / config.temperature
        expected = (scaled if offsets is None else scaled + torch.tensor(offsets)).softmax(-1)
        np.testing.assert_allclose(config.probabilities(logits), expected, rtol=1e-12)


PROGRAM = """
import sys
{work}
slow = {{"torch", "transformers", "sklearn", "scipy", "pandas"}}
print(*sorted(slow & sys.modules.keys()))
"""
WORK = {
    "a prediction": "from mvcn import Classifier; "
    "assert Classifier.from_pretrained(sys.argv[1]).predict_one('fine').label",
    "a command": "from mvcn.cli import app; "
    "app(['predict', sys.argv[1], '--text', 'fine'], standalone_mode=False)",
    "a service": "from pathlib import Path; from mvcn.serve.answering import ServedRun; "
    "from mvcn.serve.application import create_app; from mvcn.serve.limits import Limits; "
    "create_app(ServedRun(Path(sys.argv[1])), Limits(), None)",
    "a job": "from pathlib import Path; from mvcn.inference.bulk.workers import Scoring, _scorer; "
    "_scorer(Scoring(Path(sys.argv[1]), Path('unused')))",
}


DAMAGE = {
    "config.json": ['{"a":', "[]", "{}"],
    "processor_config.json": ['{"a":', "[]"],
    "tokenizer.json": ["", "[]", "{}"],
    "tokenizer_config.json": ['{"a":', "[]", "{}"],
    "model.safetensors": ["", "x" * 3000],
}


@pytest.mark.parametrize(("name", "content"), [(n, c) for n, cs in DAMAGE.items() for c in cs])
def test_a_damaged_file_is_named(exported_run, tmp_path, name, content):
    folder = shutil.copytree(exported_run, tmp_path / "run")
    (folder / name).write_text(content)
    with pytest.raises(
        RunError, match=rf"{re.escape(name)} is damaged \(.+\): copy or train the model again"
    ):
        Classifier.from_pretrained(folder).predict_one("fine")


def test_a_graph_of_texts_is_not_taken_for_one_of_images(exported_run, tmp_path):
    folder = shutil.copytree(exported_run, tmp_path / "run")
    shutil.copy(folder / "model.onnx", folder / "image.onnx")
    with pytest.raises(RunError, match=r"image.onnx is not the ONNX graph of images: write both"):
        Classifier.from_pretrained(folder)


def test_a_graph_of_images_of_another_run_is_refused(exported_run, tmp_path):
    folder = shutil.copytree(exported_run, tmp_path / "run")
    graph = onnx.load(folder / "image.onnx")
    graph.doc_string = "of another encoder"
    onnx.save(graph, folder / "image.onnx")
    with pytest.raises(RunError, match=r"image.onnx in .* is not the one that model.onnx was"):
        Classifier.from_pretrained(folder)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"id2label": {"0": "a", "1": "b"}}, r"model.onnx has 3 classes, but config.json names 2"),
        ({"model_type": "bert"}, r"config.json is damaged \(it belongs to a model of type bert\)"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(exported_run, tmp_path, changed, message):
    folder = shutil.copytree(exported_run, tmp_path / "run")
    saved = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(saved | changed))
    with pytest.raises(RunError, match=message):
        Classifier.from_pretrained(folder)


@pytest.mark.parametrize("temperature", [0, -1, None, "x", float("inf")])
def test_a_temperature_that_is_none_is_refused(exported_run, tmp_path, temperature):
    folder = shutil.copytree(exported_run, tmp_path / "run")
    saved = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(saved | {"temperature": temperature}))
    with pytest.raises(RunError, match=r"config.json is damaged"):
        Classifier.from_pretrained(folder)


@pytest.mark.parametrize("work", WORK)
def test_what_graphs_compute_waits_for_no_slow_library_and_leaves_nothing_at_home(
    exported_run, work, tmp_path
):
    program = [sys.executable, "-c", PROGRAM.format(work=WORK[work]), exported_run]
    home = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(program, capture_output=True, text=True, check=True, env=home)
    assert done.stdout.splitlines()[-1] == ""
    assert list(tmp_path.iterdir()) == [], "such as what onnxruntime sends to its makers"
