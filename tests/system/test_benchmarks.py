"""The benchmarks run, do the same work on both sides, and keep a file of results."""

import json
import math
import os
import shutil

import jaxtyping
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    BertConfig,
    BertModel,
    TrainerControl,
    TrainerState,
    ViTConfig,
    ViTModel,
)

from mvcn.config import read_recipe
from mvcn.errors import DataError
from mvcn.inputs.images import ImageFeatures
from mvcn.training.export import write_graphs
from mvcn.types import Post
from scripts import results
from scripts.speed import __main__ as command
from scripts.speed import (
    classifier,
    comparison,
    congruity_step,
    gpu,
    image_features,
    members,
    members_at_once,
    paper_pair,
    paper_step,
    prediction,
    training_epoch,
    training_step,
)
from scripts.speed.comparison import Benchmark, compare

KEYS = {"name", "ours", "reference", "unit", "ratio", "environment"}
WITH_OTHER_LIBRARIES = {"scc_step_vs_crossbatchmemory"}
"""Run where the extra ``bench`` is installed."""
ONE_OF_EACH = {
    "mvcn_models_vs_import_typer",
    "mvcn_predict_beside_four_processes",
    "predict_onnx_b32_vs_hf",
}
ALIKE = {
    name for name in command.BENCHMARKS if name.startswith(("predict_", "mvcn_"))
} - ONE_OF_EACH | {"sparsemax_vs_softmax_197", "training_step_share_of_matmul_limit"}
"""All alike but for the backend, a shape, the command, or what they are held against."""


@pytest.fixture
def once_a_model(tmp_path):
    """`write_graphs`, which copies the graphs of weights that it has had before."""

    def write(model, processor, folder, weights):
        kept = tmp_path / "graphs" / weights
        if not kept.exists():
            kept.mkdir(parents=True)
            write_graphs(model, processor, kept, weights)
        shutil.copytree(kept, folder, dirs_exist_ok=True)

    return write


@pytest.fixture
def no_shape_checks():
    """Accelerate makes an output anew from a mapping, which the checks would take for logits."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def in_this_process(monkeypatch, tiny_settings, once_a_model):
    """Save the seconds of fresh processes and of a large graph; leave this process's settings."""
    for module in (comparison, gpu, paper_step):
        monkeypatch.setattr(module, "in_fresh_process", lambda function, *args: function(*args))
    for module in (
        classifier,
        image_features,
        members,
        members_at_once,
        paper_step,
        prediction,
        training_epoch,
    ):
        monkeypatch.setattr(module, "set_up_process", lambda **_: None)
    small = read_recipe("single")
    small.update({"model": {**tiny_settings, "network": "late-fusion", "frozen_text_layers": 1}})
    for module in (image_features, members, prediction):
        monkeypatch.setattr(module, "read_recipe", lambda _: small)
    for module in (members, prediction):
        monkeypatch.setattr(module, "write_graphs", once_a_model)
    two = read_recipe("single")
    two.update({"model": {**tiny_settings, "frozen_text_layers": 1}, "training": {"members": 2}})
    monkeypatch.setattr(members_at_once, "read_recipe", lambda _: two)
    monkeypatch.setattr(comparison, "MATRIX_SECONDS", 0.1)
    monkeypatch.setattr(members, "COUNTS", (1,))
    for size in ("LARGE", "MEMORY"):
        monkeypatch.setattr(congruity_step, size, 5000)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # threads that wait for each other are slow on a busy machine
    yield
    torch.set_num_threads(threads)


def toy(higher_is_better, ours, reference):
    """A benchmark whose sides return the given numbers, one a round."""
    ours, reference = iter(ours), iter(reference)
    return Benchmark(
        unit="x",
        higher_is_better=higher_is_better,
        count=7,
        quick_count=2,
        prepare=lambda folder, count: (folder / "count").write_text(str(count), "utf-8"),
        ours=lambda _: next(ours),
        reference=lambda _: next(reference),
    )


def test_a_quick_run_measures_both_sides_of_every_benchmark(in_this_process, tmp_path):
    path = tmp_path / "results" / "bench.json"
    names = [name for name in command.BENCHMARKS if name not in ALIKE | WITH_OTHER_LIBRARIES]
    command.main(names, quick=True, output=path)
    entries = json.loads(path.read_text("utf-8"))
    assert {entry["name"] for entry in entries} == set(names)
    for entry in entries:
        assert entry.keys() >= KEYS
        assert min(entry["ours"], entry["reference"], entry["ratio"]) > 0
    found = {entry["name"]: entry for entry in entries}
    first = names.index("image_features_vs_eager")
    images, training, large, classes, added, averaged, *_ = entries[first:]
    alone = found["mvcn_predict_beside_four_processes"]
    assert alone["reads"] == f"{alone['ours'] / alone['reference']:.0%} of it alone"
    assert min(images["limit"], training["limit"]) > 0
    for one in (large, classes, added):
        assert one["ratio"] == pytest.approx(one["ours"] / one["reference"])
    assert averaged["ratio"] == pytest.approx(averaged["reference"] / averaged["ours"])
    assert images["ratio"] == images["ours"] / images["reference"]
    assert training["ratio"] == training["reference"] / training["ours"]


def test_both_sides_compute_the_same_image_features(tmp_path):
    image_features.prepare(tmp_path, 2)
    paths = image_features.image_files(tmp_path, "timed")
    config = read_recipe("single").model
    model = image_features.build_model(config, ("a", "b"))
    images = ImageFeatures(model, image_features.build_processor(config), tmp_path / "cache")
    images.encode([Post(path.stem, "", path) for path in paths])
    ours = torch.from_numpy(np.stack([images[path] for path in paths])).float()
    (plain,) = image_features.plain_features(image_features.published_model(), paths)
    # Ours go through half precision, whose spacing below 6 (the ReLU6 bound) is at most 2^-8.
    torch.testing.assert_close(ours, plain, atol=2**-8, rtol=0)


@pytest.mark.parametrize(
    ("higher_is_better", "ours", "reference", "ratio"), [(True, 6, 2, 3), (False, 6, 18, 3)]
)
def test_the_ratio_says_how_many_times_faster(
    in_this_process, tmp_path, higher_is_better, ours, reference, ratio
):
    benchmark = toy(higher_is_better, [ours], [reference])
    entry = compare(benchmark, tmp_path, quick=True, rounds=1, tell=lambda _: None)
    assert (entry["ours"], entry["reference"], entry["ratio"]) == (ours, reference, ratio)


@pytest.mark.parametrize(("higher_is_better", "fastest"), [(True, (5, 3)), (False, (4, 1))])
def test_the_fastest_round_of_each_side_counts(
    in_this_process, tmp_path, higher_is_better, fastest
):
    benchmark = toy(higher_is_better, [4, 5], [3, 1])
    entry = compare(benchmark, tmp_path, quick=False, rounds=2, tell=lambda _: None)
    assert (entry["ours"], entry["reference"]) == fastest
    assert (tmp_path / "count").read_text("utf-8") == "7"


def test_each_call_gets_a_process_of_its_own():
    numbers = {comparison.in_fresh_process(os.getpid) for _ in range(2)}
    assert len(numbers | {os.getpid()}) == 3


def test_an_error_of_a_process_comes_back():
    with pytest.raises(ValueError, match=r"nonnegative|domain"):
        comparison.in_fresh_process(math.sqrt, -1)


def test_entries_of_other_names_are_kept_and_old_ones_replaced(tmp_path):
    path = tmp_path / "bench.json"
    comparison.update(path, [{"name": "other", "ours": 1}, {"name": "first", "ours": 2}], [])
    comparison.update(path, [{"name": "second", "ours": 3}], ["first", "second"])
    comparison.update(path, [{"name": "first", "ours": 4}], ["first", "second"])
    assert [tuple(entry.values()) for entry in json.loads(path.read_text("utf-8"))] == [
        ("first", 4),
        ("second", 3),
        ("other", 1),
    ]


def test_a_file_that_holds_something_else_is_not_overwritten(tmp_path):
    path = tmp_path / "bench.json"
    path.write_text('{"a": 1}', "utf-8")
    with pytest.raises(DataError, match="not a list of benchmarks"):
        comparison.update(path, [], [])
    assert path.read_text("utf-8") == '{"a": 1}'


def test_texts_are_as_long_as_those_of_mvsa_single(tmp_path):
    config = read_recipe("single")
    _, processor = training_epoch._model_and_processor(config, ("a",))
    texts = training_epoch.lengthened_texts(["so it is"] * 300, processor)
    lengths = torch.tensor([len(ids) for ids in processor.tokenize(texts)], dtype=torch.float)
    assert lengths.mean() == pytest.approx(30.7, abs=1.5)
    assert lengths.std() == pytest.approx(12.6, abs=1.5)
    assert lengths.max() <= training_epoch.MAX_TOKENS


def test_the_counted_operations_are_those_of_the_model():
    """Against torch's own counter, whose backward pass of attention is left out on a CPU."""
    config = read_recipe("single")
    config.update({"model": {"frozen_text_layers": 0}})
    model, _ = training_epoch._model_and_processor(config, ("a", "b", "c"))
    ids = torch.ones(1, 20, dtype=torch.long)
    counter = FlopCounterMode(display=False)
    with counter:
        output = model(ids, torch.ones_like(ids), image_features=torch.randn(1, 49, 1280))
        nn.functional.cross_entropy(output.fused_logits, torch.tensor([0])).backward()
    counted = training_epoch.training_flops(model, tokens=20, patches=49)
    assert counter.get_total_flops() == pytest.approx(counted, rel=0.02)


def test_the_parts_of_a_profiled_step_are_all_of_it(monkeypatch):
    monkeypatch.setattr(training_step, "FIRST", 1)
    monkeypatch.setattr(training_step, "STEPS", 3)
    network, found = nn.Linear(300, 300), training_step.Profile()
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    for number in range(1, 6):
        network(torch.randn(500, 300)).square().mean().backward()
        optimizer.step()
        found.on_step_end(
            None, TrainerState(global_step=number), TrainerControl(), optimizer=optimizer
        )
    shares = found.shares()
    assert sum(shares.values()) == pytest.approx(1)
    assert min(shares.values()) >= 0
    assert shares["matrix products"] > shares["optimizer, norm of gradients and averaged weights"]
    assert shares["optimizer, norm of gradients and averaged weights"] > 0 == shares["dropout"]
    assert found.optimizers.keys() == training_step.OPTIMIZERS.keys()
    assert min(found.optimizers.values()) > 0


def test_a_step_of_the_paper_is_measured_in_every_way(in_this_process, monkeypatch, tmp_path):
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    paper_step.main("tiny", steps=1, rounds=1)
    ways = results.read("paper-step")["ways"]
    assert ways.keys() == paper_step.WAYS.keys()
    for way in ways.values():
        assert min(*way["ours"].values(), *way["plain"].values()) > 0
        ratio = way["plain"]["seconds"] / way["ours"]["seconds"]
        assert way["times_faster"] == pytest.approx(ratio)


def test_the_real_encoders_have_the_published_sizes():
    sizes = paper_pair.PAIRS["real"]
    assert (sizes.text, sizes.image) == ({}, {})
    counts = {"bert": 109_482_240, "vit": 86_389_248}  # as published, poolers included
    with torch.device("meta"):
        bert, vit = BertModel(BertConfig()), ViTModel(ViTConfig())
    assert {"bert": bert.num_parameters(), "vit": vit.num_parameters()} == counts


def test_what_is_measured_on_a_gpu_runs_on_a_cpu(
    in_this_process, no_shape_checks, monkeypatch, tmp_path
):
    """All but compiling, which takes a minute."""
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    monkeypatch.setattr(gpu, "REPEATS", 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    uncompiled = {name: step for name, step in gpu.STEPS.items() if "compiled" not in name}
    monkeypatch.setattr(gpu, "STEPS", uncompiled)
    gpu.main("cpu", tiny=True)
    found = results.read("gpu")
    assert set(found["differences"].values()) == {0}
    assert found["steps"].keys() == uncompiled.keys()
    measured = [*found["steps"].values(), *(found[name] for name in ("attention_ms", "prediction"))]
    measured += [found["constraint_us"], {"two processes": found["shared_seconds"]}]
    assert all(min(one.values()) > 0 for one in measured)


def test_a_number_that_differs_on_a_gpu_is_told(in_this_process, monkeypatch, tmp_path):
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    monkeypatch.setattr(gpu, "_measure", lambda *_: {"differences": {"losses": math.nan}})
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(SystemExit, match="does not compute what the CPU does"):
        gpu.main("cpu", tiny=True)
    there, here = [torch.tensor([1.0, 2.0])], [torch.tensor([1.0, 4.0])]
    assert gpu._difference(there, here) == 0.5
