"""Turn the settings of a run into the Trainer's arguments and early stopping."""

import logging
import math
from pathlib import Path
from typing import Any

from transformers import EarlyStoppingCallback, TrainingArguments

from mvcn.config import TrainingConfig
from mvcn.errors import ConfigError
from mvcn.inputs.batches import LABEL_FIELDS
from mvcn.training.checkpoints import CHECKPOINTS
from mvcn.training.distributed import check_batch_size, join_processes, runs_on_cpu

LOG = logging.getLogger(__name__)
LOGS_PER_EPOCH = 10
STEPS_PER_CHECKPOINT = 200
"""Fewest steps between two checkpoints of a member; one of fewer steps is trained again."""
BEST_METRIC = "f1_weighted"
"""Metric on the dev posts by which the epoch that the run saves is chosen."""


def training_arguments(
    config: TrainingConfig, output: Path, num_posts: int, *, selects_epoch: bool = True
) -> TrainingArguments:
    """Return the Trainer's arguments for a run in the folder `output`.

    Args:
        config: Settings.
        output: Run folder.
        num_posts: Training posts.
        selects_epoch: Evaluate each epoch on the dev posts and keep the best one; else train to
            the end, with a checkpoint after at least `STEPS_PER_CHECKPOINT` steps.

    Raises:
        ConfigError: A batch has fewer posts than there are processes, or fp16 is set without a GPU.
    """
    processes = join_processes().num_processes
    check_batch_size(config.batch_size, processes)
    if config.mixed_precision == "fp16" and runs_on_cpu():
        raise ConfigError(
            "Setting 'training.mixed_precision' is fp16, but no GPU was found: use --set "
            "training.mixed_precision=bf16 or none."
        )
    epochs = config.num_epochs(num_posts)
    arguments = TrainingArguments(
        output_dir=str(output / CHECKPOINTS),
        num_train_epochs=epochs,
        per_device_train_batch_size=-(-config.batch_size // processes),
        per_device_eval_batch_size=config.eval_batch_size,
        gradient_accumulation_steps=config.gradient_accumulation,
        learning_rate=config.fusion_learning_rate,
        weight_decay=config.weight_decay,
        warmup_steps=config.warmup_fraction,
        max_grad_norm=config.max_gradient_norm,
        seed=config.seed,
        bf16=config.mixed_precision == "bf16",
        fp16=config.mixed_precision == "fp16",
        torch_compile=config.compile,
        use_cpu=runs_on_cpu(),
        **_strategies(config, num_posts, epochs, selects_epoch=selects_epoch),
        logging_strategy="steps",
        logging_steps=1 / (LOGS_PER_EPOCH * epochs),
        logging_nan_inf_filter=False,
        restore_callback_states_from_checkpoint=True,
        remove_unused_columns=False,
        label_names=list(LABEL_FIELDS),
        dataloader_pin_memory=False,
        ddp_broadcast_buffers=False,  # would overwrite state that differs between processes
        ddp_find_unused_parameters=False,  # there are none, and searching takes time
        report_to=config.report_to,
        activation_checkpointing=config.gradient_checkpointing,
        disable_tqdm=False,
    )
    use_one_device(arguments)
    return arguments


def _strategies(
    config: TrainingConfig, num_posts: int, epochs: int, *, selects_epoch: bool
) -> dict[str, Any]:
    """Return when the Trainer evaluates and saves."""
    if selects_epoch:
        best = {"load_best_model_at_end": True, "metric_for_best_model": BEST_METRIC}
        return {"eval_strategy": "epoch", "save_strategy": "epoch", **best}
    per_epoch = config.steps_per_epoch(num_posts)
    if per_epoch * epochs <= STEPS_PER_CHECKPOINT:
        return {"eval_strategy": "no", "save_strategy": "no"}
    steps = per_epoch * math.ceil(STEPS_PER_CHECKPOINT / per_epoch)
    return {"eval_strategy": "no", "save_strategy": "steps", "save_steps": steps}


def early_stopping(config: TrainingConfig) -> EarlyStoppingCallback:
    """Return what ends training after `patience` epochs without a new best `BEST_METRIC`."""
    return EarlyStoppingCallback(config.patience)


def use_one_device(arguments: TrainingArguments) -> None:
    """Limit a process without a launcher to one GPU, and warn how to use all of them.

    The Trainer would use `torch.nn.DataParallel`, which is slow and makes batches larger than set.
    """
    if arguments.n_gpu > 1:
        LOG.warning(
            "Only one of %d GPUs is used: to use all, run torchrun --nproc-per-node %d -m mvcn "
            "train with the same options.",
            arguments.n_gpu,
            arguments.n_gpu,
        )
        arguments._n_gpu = 1
