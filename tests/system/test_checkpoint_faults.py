"""A full disk and a damaged file cost a run nothing but the time since the checkpoint before."""

import resource

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from mvcn.errors import RunError
from mvcn.training.checkpoints import find_damage
from mvcn.training.run import train

SMALL_BYTES = 60_000  # less than the tiny model's weights, more than what else is written


class Interrupt(TrainerCallback):
    """Calls something once the checkpoint of an epoch is written."""

    def __init__(self, epoch, act):
        self.epoch, self.act = epoch, act

    def on_save(self, args, state, control, **kwargs):
        if state.epoch == self.epoch:
            self.act()


@pytest.fixture
def disk():
    """Return functions that let the disk be full, and let it have room again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL_BYTES, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_run_outlives_a_full_disk_and_a_cut_checkpoint(
    tiny_config, tiny_run, tmp_path, disk, caplog
):
    config, run = tiny_config(), tmp_path / "run"
    first, second = (run / "checkpoints" / f"checkpoint-{step}" for step in (4, 8))

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    named = rf"{second} could not be written \(.*\): free some space, then resume from checkpoint-4"
    try:
        with pytest.raises(RunError, match=named):
            train(config, run, callbacks=[Interrupt(1, disk)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not second.exists()
    assert find_damage(first) is None

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, run, resume=True, callbacks=[Interrupt(2, stop)])
    weights = second / "optimizer.pt"
    half = weights.stat().st_size // 2
    weights.write_bytes(weights.read_bytes()[:half])
    caplog.clear()
    report = train(config, run, resume=True).metrics
    said = caplog.text
    assert f"Checkpoint {second} is damaged: its file optimizer.pt has {half} bytes of" in said
    assert "so the run resumes from the older checkpoint-4." in said

    one, other = (load_file(folder / "model.safetensors") for folder in (run, tiny_run))
    assert all(torch.equal(one[name], other[name]) for name in other)
    assert report["epochs"]["trained"] == 3
