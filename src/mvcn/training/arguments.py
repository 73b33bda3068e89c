"""Check the settings of a run, and turn them into the Trainer's arguments and early stopping."""

import logging
import math
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from transformers import EarlyStoppingCallback, TrainingArguments

from mvcn.config import ObjectiveConfig, RunConfig, TrainingConfig
from mvcn.errors import ConfigError, DataError
from mvcn.inputs.batches import LABEL_FIELDS
from mvcn.losses.plugged_in import plugged_in_loss
from mvcn.models.registry import MODELS, system
from mvcn.training.checkpoints import CHECKPOINTS
from mvcn.training.distributed import check_batch_size, join_processes, runs_on_cpu
from mvcn.types import Post

LOG = logging.getLogger(__name__)
LOGS_PER_EPOCH = 10
STEPS_PER_CHECKPOINT = 200
"""Fewest steps between two checkpoints of a member; one of fewer steps is trained again."""
AUTO_MEMBERS = 5
MOST_POSTS_OF_MEMBERS = 10_000
"""Labelled posts up to which `training.members: auto` trains more than one member."""
BEST_METRIC = "f1_weighted"
"""Metric on the dev posts by which the epoch that the run saves is chosen."""
SPECIAL_WEIGHTS = {"distillation_weight"}.union(
    *(model.objective_weights for model in MODELS.values())
)
"""Settings of the objective that only some networks support."""


def check_compatibility(config: RunConfig) -> None:
    """Raise a ConfigError if settings contradict each other or the network, or lack a plug-in."""
    about, name = system(config.model.network), config.model.network
    possible = {*about.objective_weights}
    if {"text", "image"} <= set(about.reads) and not about.is_linear:
        possible.add("distillation_weight")
    for setting in sorted(SPECIAL_WEIGHTS - possible):
        if getattr(config.objective, setting) > 0:
            raise ConfigError(
                f"Setting 'objective.{setting}' is above 0, but model '{name}' does not support "
                f"it: set it to 0, or start from the model's own recipe with --model {name}."
            )
    if config.model.lower_text_layers and {"objects", "attributes", "pairs"} & set(about.reads):
        raise ConfigError(
            f"Setting 'model.lower_text_layers' is above 0, but model '{name}' compares words with "
            "the text encoder's embeddings, which are those of a single layer: set it to 0."
        )
    _check_linear(config)
    for loss in (name for name, weight in config.objective.losses.items() if weight > 0):
        plugged_in_loss(loss)
    tracker = config.training.report_to
    if tracker != "none" and find_spec(tracker) is None:
        raise ConfigError(
            f"Setting 'training.report_to' is {tracker}, which is not installed: run pip install "
            f"{tracker}."
        )
    if config.model.attribute_model is not None and not {"attributes", "pairs"} & set(about.reads):
        raise ConfigError(
            f"Model '{name}' reads no image attributes: leave out model.attribute_model."
        )


def _check_linear(config: RunConfig) -> None:
    """Raise a ConfigError for what a network that is fitted, and not trained, cannot do."""
    model = config.model
    if not system(model.network).is_linear:
        return
    for name in ("text_adapter", "image_adapter"):
        if getattr(model, name).rank:
            raise ConfigError(
                f"Model '{model.network}' is fitted on frozen encoders: leave out model.{name}."
            )
    if model.frozen_text_layers != "all" or not model.freeze_image_encoder:
        raise ConfigError(
            f"Model '{model.network}' is fitted on frozen encoders: set model.frozen_text_layers "
            "to all, and model.freeze_image_encoder to true."
        )
    without = {**ObjectiveConfig().model_dump(), "congruity_weight": 0.0}
    for name, value in config.objective.model_dump().items():
        if value != without[name]:
            raise ConfigError(
                f"Model '{model.network}' is a logistic regression, so setting 'objective.{name}' "
                f"has no effect: set it to {without[name]}."
            )


def check_modality(network: str, posts: Sequence[Post]) -> None:
    """Raise a DataError if a network reads only one modality and no post has it."""
    has = {
        "text": any(post.text.strip() for post in posts),
        "image": any(post.image is not None for post in posts),
    }
    reads = system(network).reads
    if len(reads) == 1 and not has[reads[0]]:
        (modality,) = reads
        raise DataError(
            f"Model '{network}' reads only {modality}s, but no training post has one: add "
            f"{modality}s, or choose another model with --model (mvcn models lists them)."
        )


def num_members(setting: int | Literal["auto"], num_posts: int) -> int:
    """Return the number of members to train on labelled posts, 1 for a plain model.

    Args:
        setting: `training.members`.
        num_posts: Labelled posts.
    """
    if setting == "auto":
        return AUTO_MEMBERS if num_posts <= MOST_POSTS_OF_MEMBERS else 1
    return setting


def num_epochs(config: TrainingConfig, num_posts: int) -> int:
    """Return `epochs`, or more where there are too few posts for `min_steps` optimizer steps."""
    per_epoch = steps_per_epoch(config, num_posts)
    return max(config.epochs, math.ceil(config.min_steps / max(1, per_epoch)))


def num_steps(config: TrainingConfig, num_posts: int) -> int:
    """Return the number of optimizer steps of a training."""
    return num_epochs(config, num_posts) * steps_per_epoch(config, num_posts)


def steps_per_epoch(config: TrainingConfig, num_posts: int) -> int:
    """Return the number of optimizer steps for each post once."""
    return math.ceil(num_posts / (config.batch_size * config.gradient_accumulation))


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
    epochs = num_epochs(config, num_posts)
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
    per_epoch = steps_per_epoch(config, num_posts)
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
