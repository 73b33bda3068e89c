"""Settings that do not go together are refused; the others become the Trainer's arguments."""

import pytest

from mvcn.config import RunConfig, TrainingConfig, read_recipe
from mvcn.errors import ConfigError
from mvcn.training.arguments import (
    check_compatibility,
    num_epochs,
    num_members,
    training_arguments,
    use_one_device,
)
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


@pytest.mark.parametrize(("posts", "expected"), [(16, 50), (160, 5), (1600, 3), (17, 25), (0, 50)])
def test_there_are_more_epochs_where_few_posts_make_few_steps(posts, expected):
    config = TrainingConfig(batch_size=16, epochs=3, min_steps=50)
    assert num_epochs(config, posts) == expected
    assert num_epochs(TrainingConfig(epochs=3), posts) == 3


@pytest.mark.parametrize(
    ("setting", "posts", "expected"),
    [("auto", 10_000, 5), ("auto", 10_001, 1), (1, 10, 1), (3, 10**6, 3)],
)
def test_members_are_trained_where_posts_are_few(setting, posts, expected):
    assert num_members(setting, posts) == expected


def test_a_member_is_saved_now_and_then_and_selects_no_epoch(tmp_path):
    config = TrainingConfig(batch_size=16, epochs=30)
    short, long = (
        training_arguments(config, tmp_path, posts, selects_epoch=False) for posts in (96, 1600)
    )
    assert (short.save_strategy, short.eval_strategy) == ("no", "no")
    assert (long.save_strategy, long.save_steps, long.eval_strategy) == ("steps", 200, "no")
    assert not long.load_best_model_at_end


@pytest.mark.parametrize("network", ["concat3", "mgnns", "hsan", "dr-net"])
def test_words_are_compared_with_tokens_of_one_layer(network):
    config = RunConfig.from_mapping({"model": {"network": network, "lower_text_layers": 1}})
    with pytest.raises(ConfigError, match="compares words with the text encoder's embeddings"):
        check_compatibility(config)


@pytest.mark.parametrize("kind", ["text", "image"])
def test_adapters_are_refused_of_encoders_that_are_not_trained(kind):
    config = read_recipe("logreg")
    config.set([f"model.{kind}_adapter.rank=4"])
    with pytest.raises(ConfigError, match=f"frozen encoders: leave out model.{kind}_adapter"):
        check_compatibility(config)
