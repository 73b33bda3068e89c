"""Which checkpoint a run resumes from when one is damaged, and what a full disk leaves."""

import json
import resource

import pytest
import torch
from safetensors.torch import save_file

from mvcn.errors import RunError
from mvcn.training.checkpoints import (
    advice_after_failed_write,
    choose_checkpoint,
    drop_checkpoints,
    find_damage,
    last_checkpoint,
    mark_complete,
    writing,
)


@pytest.fixture
def run(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    return tmp_path


def make(run, step, best=None, complete=True):
    folder = run / "checkpoints" / f"checkpoint-{step}"
    folder.mkdir()
    state = {"best_global_step": best or step}
    (folder / "trainer_state.json").write_text(json.dumps(state))
    save_file({"weight": torch.arange(99.0)}, folder / "model.safetensors")
    if complete:
        mark_complete(folder)
    return folder


def cut_in_half(checkpoint):
    path = checkpoint / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def change_a_bit(checkpoint):
    path = checkpoint / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def lose_a_file(checkpoint):
    (checkpoint / "model.safetensors").unlink()


def spoil_the_list(checkpoint):
    (checkpoint / "complete").write_text("{")


FAULTS = {
    cut_in_half: "its file model.safetensors has 234 bytes of 468",
    change_a_bit: "the content of its file model.safetensors has changed",
    lose_a_file: "its file model.safetensors is missing",
    spoil_the_list: "its file complete cannot be read",
}


@pytest.fixture
def choose(caplog):
    """Return a function that chooses a checkpoint, and returns its name and what was logged."""

    def choose(run):
        checkpoint = choose_checkpoint(run)
        return checkpoint and checkpoint.name, caplog.messages

    return choose


def test_the_newest_complete_one_counts_by_number(run, choose):
    for step, complete in ((9, True), (10, True), (200, False)):
        make(run, step, complete=complete)
    (run / "checkpoints" / "other").mkdir()
    assert last_checkpoint(run).name == "checkpoint-10"
    assert choose(run) == ("checkpoint-10", [])


def test_without_any_there_is_nothing_to_choose(run, choose):
    make(run, 3, complete=False)
    assert choose(run) == (None, [])


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_damaged_one_is_named_and_the_one_before_it_taken(run, fault, choose):
    make(run, 5)
    damaged = make(run, 10)
    fault(damaged)
    assert find_damage(damaged) == FAULTS[fault]
    assert choose(run) == (
        "checkpoint-5",
        [
            f"Checkpoint {damaged} is damaged: {FAULTS[fault]}, so the run resumes from "
            "the older checkpoint-5."
        ],
    )


def test_one_whose_best_is_damaged_is_no_use(run, choose):
    make(run, 5)
    cut_in_half(make(run, 10))
    make(run, 15, best=10)
    chosen, said = choose(run)
    assert chosen == "checkpoint-5"
    assert "checkpoint-15 is damaged: of the best one before it, checkpoint-10, its file" in said[0]
    lose_a_file(run / "checkpoints" / "checkpoint-5")
    with pytest.raises(RunError, match="there is no other one: start again"):
        choose(run)


def test_none_is_left_of_a_finished_run(run):
    make(run, 9)
    drop_checkpoints(run)
    assert last_checkpoint(run) is None


@pytest.fixture
def full_disk():
    """Let no file grow beyond 100 bytes, as on a disk without room."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


WRITERS = {
    "safetensors": (lambda path: save_file({"a": torch.zeros(99)}, path), "File too large"),
    "torch": (lambda path: torch.save(torch.zeros(99), path), "it could not be written completely"),
    "text": (lambda path: path.write_text("x" * 999), "File too large"),
}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.usefixtures("full_disk")
def test_an_error_of_writing_is_one_sentence(run, writer):
    write, reason = WRITERS[writer]
    with (
        pytest.raises(
            RunError, match=rf"file could not be written \({reason}\): free some space\."
        ),
        writing(run / "file", "free some space."),
    ):
        write(run / "file")


def test_other_errors_stay_what_they_are(run):
    with pytest.raises(RuntimeError, match="no disk"), writing(run, "nothing."):
        raise RuntimeError("no disk has a part in this")


def test_the_advice_names_what_can_be_resumed(run):
    assert advice_after_failed_write(run).endswith("start again with --overwrite.")
    make(run, 4)
    assert advice_after_failed_write(run).endswith("resume from checkpoint-4 with --resume.")
