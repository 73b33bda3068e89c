"""An interrupted run that is resumed ends as if nothing had happened, bit for bit."""

import csv
import json
import os
import shutil
import signal

import pytest
import torch
from safetensors.torch import load_file

from mvcn.config import read_recipe
from mvcn.training import callbacks, fit
from mvcn.training.checkpoints import COMPLETE_FILE, last_checkpoint
from mvcn.training.run import train
from mvcn.training.trainer import OBJECTIVE_FILE, MvcnTrainer
from tests.processes import run_copy

SETTINGS = {
    "model": {"freeze_image_encoder": False, "frozen_text_layers": 1},
    "objective": {
        "queue_size": 20,
        "calibration": 0.4,
        "unimodal_label_weight": 0.5,
        "distillation_weight": 0.3,
    },
    "training": {"epochs": 4, "patience": 2, "weight_average_decay": 0.9},
}
"""All that has state: trained image encoder, queue, heads, early stopping, averaged weights."""


def train_until(moment, recipe, steps):
    """Train, and kill this process at a moment such as ``while saving 2``, an epoch's number.

    Args:
        moment: When, and the name of the run's folder.
        recipe: File with the settings, beside that folder.
        steps: Between checkpoints within an epoch.
    """
    when, epoch = moment.rsplit(" ", 1)
    save, step = MvcnTrainer._save_checkpoint, MvcnTrainer.training_step
    callbacks.STEPS_BETWEEN_CHECKPOINTS = steps

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    def save_and_die(self, model, trial):
        if when == "while saving" and self.state.epoch == float(epoch):
            self._save_optimizer_and_scheduler = lambda folder: die()
        save(self, model, trial)
        if when == "after saving" and self.state.epoch == float(epoch):
            die()

    def step_and_die(self, *arguments, **options):
        loss = step(self, *arguments, **options)
        if when == "in the middle" and self.state.epoch and self.state.epoch > float(epoch) + 0.3:
            die()
        return loss

    MvcnTrainer._save_checkpoint, MvcnTrainer.training_step = save_and_die, step_and_die
    train(read_recipe(str(recipe)), recipe.with_name(moment))


COMPLETE_EPOCHS = {
    "after saving 1": 1,
    "in the middle 2": 2,
    "while saving 2": 1,
}
"""When a run is killed -> how many of its epochs are complete on disk."""
LAST = "after its last epoch"
"""Which one that is, early stopping says, and where it comes depends on the machine's rounding."""

STEPS_PER_EPOCH = 4  # 32 posts in batches of 8
FEW_STEPS, MANY_STEPS = 2, 1_000
"""Between two checkpoints within an epoch: some in each epoch, and none."""


@pytest.fixture(scope="module")
def config(tiny_config):
    return tiny_config(**SETTINGS)


def train_watched(config, output, **options):
    """Train, and return the objective's final state and the metrics."""
    seen = {}

    class Watched(MvcnTrainer):
        def logits(self, posts):
            seen.update({name: t.clone() for name, t in self.objective.state_dict().items()})
            return super().logits(posts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "MvcnTrainer", Watched)
        return train(config, output, **options).metrics, seen


@pytest.fixture(scope="module")
def uninterrupted(config, tmp_path_factory):
    output = tmp_path_factory.mktemp("whole") / "run"
    return output, *train_watched(config, output)


@pytest.fixture(scope="module")
def interrupted(config, uninterrupted, tmp_path_factory):
    """Folder of runs that were killed at the moments that are their names."""
    folder = tmp_path_factory.mktemp("killed")
    after_last = f"after saving {trained_epochs(uninterrupted)}"
    kill(config, folder, MANY_STEPS, *COMPLETE_EPOCHS, after_last)
    (folder / after_last).rename(folder / LAST)
    return folder


def trained_epochs(uninterrupted):
    _, report, _ = uninterrupted
    return report["epochs"]["trained"]


def kill(config, folder, steps, *moments):
    """Kill a run at each moment, with so many steps between checkpoints within an epoch."""
    (folder / "recipe.yaml").write_text(config.to_yaml())
    for moment in moments:
        assert run_copy(train_until, moment, folder / "recipe.yaml", steps) == -signal.SIGKILL


def assert_same_tensors(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def history(output):
    """What was logged, without what a clock says."""
    with (output / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    timed = ("runtime", "per_second", "total_flos", "train_loss")
    return [{k: v for k, v in row.items() if not any(t in k for t in timed)} for row in rows]


def assert_same_run(resumed, report, state, uninterrupted):
    output, expected_report, expected_state = uninterrupted
    weights = [load_file(folder / "model.safetensors") for folder in (resumed, output)]
    assert_same_tensors(*weights)
    assert_same_tensors(state, expected_state)
    assert history(resumed) == history(output)
    for key in ("dev", "posts", "removed", "bad_images", "epochs"):
        assert report[key] == expected_report[key], key
    assert json.loads((resumed / "metrics.json").read_text()) == report
    for name in ("config.json", "config.yaml", "processor_config.json", "tokenizer.json"):
        assert (resumed / name).read_bytes() == (output / name).read_bytes(), name


def test_a_checkpoint_that_was_not_written_to_its_end_does_not_count(interrupted):
    partial = interrupted / "while saving 2" / "checkpoints" / f"checkpoint-{2 * STEPS_PER_EPOCH}"
    assert (partial / "model.safetensors").exists()
    assert not (partial / COMPLETE_FILE).exists()


@pytest.mark.parametrize("moment", [*COMPLETE_EPOCHS, LAST])
def test_resumed_is_uninterrupted(config, uninterrupted, interrupted, moment):
    """After the last epoch too: what is resumed there trains no further one."""
    killed = interrupted / moment
    epochs = COMPLETE_EPOCHS.get(moment, trained_epochs(uninterrupted))
    assert last_checkpoint(killed).name == f"checkpoint-{epochs * STEPS_PER_EPOCH}"
    moved = shutil.move(killed, killed.with_name(f"moved {killed.name}"))
    report, state = train_watched(config, moved, resume=True)
    assert_same_run(moved, report, state, uninterrupted)


def test_a_long_epoch_is_resumed_in_the_middle(config, uninterrupted, tmp_path):
    kill(config, tmp_path, FEW_STEPS, "in the middle 1")
    killed = tmp_path / "in the middle 1"
    assert last_checkpoint(killed).name == f"checkpoint-{STEPS_PER_EPOCH + FEW_STEPS}"
    report, state = train_watched(config, killed, resume=True)
    assert_same_run(killed, report, state, uninterrupted)


def test_the_queue_is_in_use_when_it_is_compared(uninterrupted):
    _, _, state = uninterrupted
    assert state["congruity_active"]
    assert (state["queue.labels"] >= 0).all()
    assert OBJECTIVE_FILE.endswith(".safetensors")


def test_nothing_but_the_model_is_left_of_the_checkpoints(uninterrupted):
    output, *_ = uninterrupted
    assert list((output / "checkpoints").iterdir()) == []
