"""Training in half the bits, and translated by the compiler, is training still."""

import csv
import json

import jaxtyping
import pytest
import torch
from safetensors.torch import load_file

from mvcn.data.table import read_table
from mvcn.inference.classifier import Classifier
from mvcn.inputs.batches import PostEncoder
from mvcn.losses import Objective
from mvcn.nn import attention
from mvcn.runtime.images import ImagePixels
from mvcn.training.run import train
from mvcn.training.run_folder import Run

FILE = "model.safetensors"


def losses(run):
    with (run / "history.csv").open(newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file) if row["loss"]]


@pytest.fixture
def _no_shape_checks():
    """Accelerate makes an output anew from a mapping, which the checks would take for logits."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def seen(monkeypatch):
    """Types of numbers that went into sparsemax, came out of it, and reached the queue."""
    types = {"scores": set(), "weights": set(), "features": set(), "queue": set()}
    sparsemax, after_step = attention.sparsemax, Objective.after_step

    def watched_sparsemax(scores, mask=None):
        weights = sparsemax(scores, mask)
        types["scores"].add(scores.dtype)
        types["weights"].add(weights.dtype)
        return weights

    def watched_after_step(self, output, targets):
        after_step(self, output, targets)
        types["features"].add(output.fused_feature.dtype)
        types["queue"].add(self.queue.features.dtype)

    monkeypatch.setattr(attention, "sparsemax", watched_sparsemax)
    monkeypatch.setattr(Objective, "after_step", watched_after_step)
    return types


@pytest.mark.usefixtures("_no_shape_checks")
def test_half_precision_is_for_the_network_alone(
    tiny_config, tiny_run, posts_table, seen, tmp_path
):
    train(tiny_config(training={"epochs": 1, "mixed_precision": "bf16"}), tmp_path)
    assert torch.bfloat16 in seen["scores"]
    assert seen["weights"] == seen["features"] == seen["queue"] == {torch.float32}
    assert losses(tmp_path) == pytest.approx(losses(tiny_run)[:4], rel=1e-2)
    assert losses(tmp_path) != losses(tiny_run)[:4]
    weights = load_file(tmp_path / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} <= {torch.float32, torch.int64}
    reported = json.loads((tmp_path / "metrics.json").read_text())["dev"]
    dev = read_table(posts_table / "dev" / "posts.csv").posts
    found = Classifier.from_pretrained(tmp_path).evaluate(dev).evaluation
    assert found.to_mapping() == reported  # of the saved weights, in their own precision


@pytest.mark.filterwarnings("ignore")  # of torch, about what its compiler does
@pytest.mark.usefixtures("_no_shape_checks")
def test_the_compiler_can_follow_the_network(tiny_run, generated_posts):
    """Up to the C++ compiler, which takes minutes."""
    run = Run(tiny_run)
    model, processor = run.model, run.processor
    encoder = PostEncoder(processor, ImagePixels(processor, keep=True))
    inputs = encoder.encode(generated_posts[:4]).inputs(range(4))
    tokens = model.encode(**inputs)
    traced = torch.compile(model.network, backend="aot_eager")
    torch.testing.assert_close(traced(tokens, False).logits, model.network(tokens, False).logits)


def test_checkpoints_of_layers_change_nothing_but_memory_and_time(tiny_config, tmp_path):
    model = {"freeze_image_encoder": False}
    weights = [
        load_file(train(tiny_config(model=model, training=one), tmp_path / name).folder / FILE)
        for name, one in {
            "all": {"epochs": 1},
            "checkpoints": {"epochs": 1, "gradient_checkpointing": True},
        }.items()
    ]
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, atol=1e-6, rtol=0)
