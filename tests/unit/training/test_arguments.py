"""Settings that do not go together are refused; the others become the Trainer's arguments."""

import pytest

from mvcn.config import TrainingConfig
from mvcn.errors import ConfigError
from mvcn.training.arguments import training_arguments, use_one_device
from mvcn.training.distributed import runs_on_cpu


def test_one_process_takes_whole_batches(tmp_path):
    arguments = training_arguments(TrainingConfig(batch_size=12), tmp_path)
    assert (arguments.train_batch_size, arguments.world_size) == (12, 1)
    assert not arguments.ddp_broadcast_buffers
    assert not arguments.ddp_find_unused_parameters
    assert not arguments.torch_compile


def test_compilation_and_half_precision_are_handed_on(tmp_path):
    config = TrainingConfig(compile=True, mixed_precision="bf16")
    arguments = training_arguments(config, tmp_path)
    assert arguments.torch_compile
    assert arguments.bf16


def test_a_process_alone_keeps_to_one_gpu_and_says_so(tmp_path, caplog):
    arguments = training_arguments(TrainingConfig(), tmp_path)
    arguments._n_gpu = 4  # as the Trainer counts them
    use_one_device(arguments)
    assert arguments.n_gpu == 1
    assert "One of 4 GPUs is used: to use all, start the command by torchrun" in caplog.text


@pytest.mark.skipif(not runs_on_cpu(), reason="there is a GPU")
def test_half_precision_of_gpus_is_refused_without_one(tmp_path):
    with pytest.raises(ConfigError, match="is fp16, but no GPU was found: use bf16 or none"):
        training_arguments(TrainingConfig(mixed_precision="fp16"), tmp_path)
