"""Two processes do what one does, take up each other's runs, and end together."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mvcn.config import read_recipe
from mvcn.data.synthetic import generate_posts, write_table
from mvcn.errors import MvcnError
from mvcn.training.run import train

EPOCHS, STOP = 2, 1
TIMEOUT_SECONDS = 300

JOURNEYS = """
import os, sys
from pathlib import Path
import torch
from tests.system.test_many_devices import CalmAdamW, StoppedError, watching, with_graph
from mvcn.cli import main
from mvcn.config import read_recipe
from mvcn.training import linear
from mvcn.training.run import train

torch.optim.AdamW = CalmAdamW
linear.INVERSE_PENALTIES = (1e-3, 1e-2)
recipe, folder = sys.argv[1], Path(sys.argv[2])
config = read_recipe(recipe)
train(config, folder / "one then two", resume=True, callbacks=watching())
train(with_graph(config), folder / "graph of two")
try:
    train(config, folder / "two then one", callbacks=watching(stop=True))
except StoppedError:
    pass
(folder / f"rank {os.environ['RANK']}").touch()
fault = ["--set", "training.epochs=0"] if os.environ["RANK"] == "1" else []
sys.argv = ["mvcn", "train", "--recipe", recipe, "--output", str(folder / "failed"), *fault]
main()
"""
"""All in one launch, since to start the processes takes longer than what they do."""


class CalmAdamW(torch.optim.AdamW):
    """Takes no full step where a gradient is nothing but rounding, so that runs can be compared."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, eps=1e-3, **options)


class StoppedError(MvcnError):
    """A run was interrupted."""


def watching(stop=False):
    """Return what keeps a copy of each checkpoint, and interrupts the run when that is wanted."""
    from transformers import TrainerCallback  # takes seconds

    class Watching(TrainerCallback):
        def on_save(self, args, state, control, **kwargs):
            if state.is_world_process_zero:
                checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
                run = checkpoint.parents[1]
                shutil.copytree(checkpoint, run.with_name(f"{run.name} {checkpoint.name}"))
            if stop and state.epoch == STOP:
                raise StoppedError

    return [Watching()]


def with_graph(config):
    """Return settings of one epoch of a network that counts what it sees together."""
    changed = config.model_copy()
    changed.update(
        {
            "model": {"network": "mgnns"},
            "objective": {"unimodal_label_weight": 0.0, "distillation_weight": 0.0},
            "training": {"epochs": 1},
        }
    )
    return changed


@pytest.fixture(scope="module")
def calm_text_encoder(tiny_text_encoder, tmp_path_factory):
    """The tiny encoder without dropout, which no setting of ours switches off."""
    folder = shutil.copytree(tiny_text_encoder, tmp_path_factory.mktemp("calm") / "bert")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    return folder


@pytest.fixture(scope="module")
def recipe(tiny_config, calm_text_encoder, tmp_path_factory):
    """Settings with everything that has state, and batches that two cannot share evenly.

    Of 31 posts in batches of 5, the two processes get 3 and 2 at a time, then 1 and 0. Dropout is
    0, since two processes do not draw what one draws.
    """
    folder = tmp_path_factory.mktemp("recipe")
    write_table(generate_posts(31, seed=3), folder)
    config = tiny_config(
        data={"train": str(folder / "posts.csv")},
        model={
            "text_encoder": str(calm_text_encoder),
            "dropout": 0.0,
            "frozen_text_layers": 1,
        },
        objective={"calibration": 0.4, "unimodal_label_weight": 0.5, "distillation_weight": 0.3},
        training={
            **{"epochs": EPOCHS, "batch_size": 5, "eval_batch_size": 6, "gradient_accumulation": 2},
            **{"fusion_learning_rate": 3e-4, "encoder_learning_rate": 3e-5},
            "weight_average_decay": 0.9,
        },
    )
    path = folder / "recipe.yaml"
    path.write_text(config.to_yaml())
    return path


@pytest.fixture(scope="module")
def runs(recipe, tmp_path_factory):
    """Folder of a run by one process, and of runs that two begin or end."""
    folder, config = tmp_path_factory.mktemp("runs"), read_recipe(str(recipe))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim, "AdamW", CalmAdamW)
        _run_all(config, recipe, folder)
    return folder


def _run_all(config, recipe, folder):
    train(config, folder / "one", callbacks=watching())
    train(with_graph(config), folder / "graph of one")
    with pytest.raises(StoppedError):
        train(config, folder / "one then two", callbacks=watching(stop=True))
    script = folder / "journeys.py"
    script.write_text(JOURNEYS)
    launch = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, "-m", *launch, script, recipe, folder],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(["src", "."])},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    (folder / "errors.txt").write_text(done.stderr)
    assert done.returncode != 0
    assert {path.name for path in folder.glob("rank *")} == {"rank 0", "rank 1"}, done.stderr
    name = "two then one"
    train(config, folder / name, resume=True, callbacks=watching())


def logged(run):
    """What was logged, by column, without what a clock says."""
    with (run / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    timed = ("runtime", "per_second", "total_flos", "train_loss")
    return {
        name: [float(row[name]) for row in rows if row[name]]
        for name in rows[0]
        if not any(part in name for part in timed)
    }


def state(runs, kind, step, name):
    return load_file(runs / f"{kind} checkpoint-{step}" / f"{name}.safetensors")


def distance(one, other):
    return sum((one[name] - other[name]).square().sum().item() for name in one) ** 0.5


KINDS = ["one then two", "two then one"]
STEPS_PER_EPOCH = 4  # 7 batches, two a step


@pytest.mark.parametrize("kind", KINDS)
def test_the_weights_are_those_of_one_process(runs, kind):
    before, after = (
        state(runs, "one", epoch * STEPS_PER_EPOCH, "running") for epoch in (STOP, EPOCHS)
    )
    other = state(runs, kind, EPOCHS * STEPS_PER_EPOCH, "running")
    assert distance(after, other) < 1e-4 * distance(after, before)


@pytest.mark.parametrize("kind", KINDS)
def test_the_queue_is_that_of_one_process(runs, kind):
    last = EPOCHS * STEPS_PER_EPOCH
    one, other = state(runs, "one", last, "objective"), state(runs, kind, last, "objective")
    for name in ("queue.labels", "queue.counts", "queue.next_slot", "congruity_active"):
        assert torch.equal(one[name], other[name]), name
    for name in ("queue.features", "queue.class_sums"):
        torch.testing.assert_close(other[name], one[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_so_is_all_that_is_logged(runs, kind):
    """Nearly to the last digit before the constraint, which is a ratio of small distances."""
    one, other = logged(runs / "one"), logged(runs / kind)
    assert one.keys() == other.keys()
    assert min(one["congruity"][STEPS_PER_EPOCH:]) > 0
    for name, values in one.items():
        first, later = values[:STEPS_PER_EPOCH], values[STEPS_PER_EPOCH:]
        assert other[name][:STEPS_PER_EPOCH] == pytest.approx(first, rel=1e-4, abs=1e-6), name
        assert other[name][STEPS_PER_EPOCH:] == pytest.approx(later, rel=1e-3, abs=1e-6), name


@pytest.mark.parametrize("kind", KINDS)
def test_and_so_are_the_scores_on_dev(runs, kind):
    one, other = (json.loads((runs / name / "metrics.json").read_text()) for name in ("one", kind))
    for name in ("accuracy", "f1_weighted", "negative_log_likelihood"):
        assert other["dev"][name] == pytest.approx(one["dev"][name], rel=1e-5), name
    assert other["epochs"] == one["epochs"]
    processes = json.loads((runs / kind / "environment.json").read_text())["processes"]
    assert processes == (1 if kind == "two then one" else 2)


def test_what_is_seen_together_is_counted_over_all_processes(runs):
    one, two = (
        load_file(runs / f"graph of {name}" / "model.safetensors")[
            "network.object_graph.seen_together"
        ]
        for name in ("one", "two")
    )
    assert one.sum() > 0
    assert torch.equal(one, two)


def test_an_error_of_one_process_ends_all(runs):
    """With its sentence; the other adds its own only where the launcher is slow to end it."""
    errors = (runs / "errors.txt").read_text()
    # The bar of the training that was stopped before may stand in front of it.
    said, *more = re.findall(r"(?<!\w)Error: .*", errors)
    assert said == "Error: Setting 'training.epochs' is 0, but must be at least 1."
    assert all("Another process of this training has stopped" in line for line in more)
    assert not (runs / "failed" / "metrics.json").exists()


def test_other_commands_refuse_to_be_started_several_times(fails, monkeypatch, tmp_path):
    monkeypatch.setattr("mvcn.cli.process.PROCESSES", 2)
    sentence = fails("demo", "--output", tmp_path / "demo")
    assert "2 processes were started, but only mvcn train can use more than one" in sentence
    assert not (tmp_path / "demo").exists()
