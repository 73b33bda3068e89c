"""Settings become the Trainer's arguments."""

import pytest

from mvcn.config import TrainingConfig
from mvcn.errors import ConfigError
from mvcn.training.arguments import training_arguments, use_one_device
from mvcn.training.distributed import runs_on_cpu


def test_one_process_takes_whole_batches(tmp_path):
    arguments = training_arguments(TrainingConfig(batch_size=12), tmp_path, 24)
    assert (arguments.train_batch_size, arguments.world_size) == (12, 1)
    assert not arguments.ddp_broadcast_buffers
    assert not arguments.ddp_find_unused_parameters
    assert not arguments.torch_compile


def test_compilation_and_half_precision_are_handed_on(tmp_path):
    config = TrainingConfig(compile=True, mixed_precision="bf16")
    arguments = training_arguments(config, tmp_path, 24)
    assert arguments.torch_compile
    assert arguments.bf16


def test_a_process_alone_keeps_to_one_gpu_and_says_so(tmp_path, caplog):
    arguments = training_arguments(TrainingConfig(), tmp_path, 24)
    arguments._n_gpu = 4  # as the Trainer counts them
    use_one_device(arguments)
    assert arguments.n_gpu == 1
    assert "Only one of 4 GPUs is used: to use all, run torchrun" in caplog.text


@pytest.mark.skipif(not runs_on_cpu(), reason="there is a GPU")
def test_half_precision_of_gpus_is_refused_without_one(tmp_path):
    with pytest.raises(
        ConfigError,
        match=r"is fp16, but no GPU was found: use --set training.mixed_precision=bf16 or none",
    ):
        training_arguments(TrainingConfig(mixed_precision="fp16"), tmp_path, 24)


def test_a_member_is_saved_now_and_then_and_selects_no_epoch(tmp_path):
    config = TrainingConfig(batch_size=16, epochs=30)
    short, long = (
        training_arguments(config, tmp_path, posts, selects_epoch=False) for posts in (96, 1600)
    )
    assert (short.save_strategy, short.eval_strategy) == ("no", "no")
    assert (long.save_strategy, long.save_steps, long.eval_strategy) == ("steps", 200, "no")
    assert not long.load_best_model_at_end
