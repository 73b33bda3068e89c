"""Checks of a run's settings, and the Trainer's arguments that follow from them."""

from collections.abc import Sequence
from pathlib import Path

from transformers import TrainingArguments

from mvcn.config import RunConfig, TrainingConfig
from mvcn.errors import ConfigError, DataError
from mvcn.inputs.batches import LABEL_FIELDS
from mvcn.models import MODELS, system
from mvcn.training.callbacks import notice
from mvcn.training.checkpoints import CHECKPOINTS
from mvcn.training.distributed import check_batch_size, join_processes, runs_on_cpu
from mvcn.training.trainer import BEST_METRIC
from mvcn.types import Post

LOGS_PER_EPOCH = 10
SPECIAL_WEIGHTS = {"distillation_weight"}.union(*(model.learns_by for model in MODELS.values()))
"""Settings of the objective that not every network can learn by."""


def check_compatibility(config: RunConfig) -> None:
    """Raise a ConfigError where settings do not fit each other or the network."""
    about, name = system(config.model.network), config.model.network
    possible = {*about.learns_by}
    if {"text", "image"} <= set(about.reads):
        possible.add("distillation_weight")
    for setting in sorted(SPECIAL_WEIGHTS - possible):
        if getattr(config.objective, setting) > 0:
            raise ConfigError(
                f"Setting 'objective.{setting}' is above 0, but model '{name}' cannot learn by it: "
                f"start from the model's own recipe (--model {name}), or set it to 0."
            )
    if config.model.attribute_model is not None and not {"attributes", "pairs"} & set(about.reads):
        raise ConfigError(
            f"Model '{name}' reads no image attributes: leave model.attribute_model out."
        )


def check_modality(network: str, posts: Sequence[Post]) -> None:
    """Raise a DataError where a network reads images alone or texts alone and no post has one."""
    has = {
        "text": any(post.text.strip() for post in posts),
        "image": any(post.image is not None for post in posts),
    }
    reads = system(network).reads
    if len(reads) == 1 and not has[reads[0]]:
        (modality,) = reads
        raise DataError(
            f"Model '{network}' reads {modality}s alone, but no training post has one: give posts "
            f"with {modality}s, or choose another model (mvcn models)."
        )


def training_arguments(config: TrainingConfig, output: Path) -> TrainingArguments:
    """Return the arguments of a run in the folder `output`.

    Raises:
        ConfigError: Fewer posts in a batch than processes, or a precision without a device for it.
    """
    processes = join_processes().num_processes
    check_batch_size(config.batch_size, processes)
    if config.mixed_precision == "fp16" and runs_on_cpu():
        raise ConfigError(
            "Setting 'training.mixed_precision' is fp16, but no GPU was found: use bf16 or none."
        )
    arguments = TrainingArguments(
        output_dir=str(output / CHECKPOINTS),
        num_train_epochs=config.epochs,
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
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model=BEST_METRIC,
        logging_strategy="steps",
        logging_steps=1 / (LOGS_PER_EPOCH * config.epochs),
        logging_nan_inf_filter=False,
        restore_callback_states_from_checkpoint=True,
        remove_unused_columns=False,
        label_names=list(LABEL_FIELDS),
        dataloader_pin_memory=False,
        ddp_broadcast_buffers=False,  # it would overwrite what a process holds for itself
        ddp_find_unused_parameters=False,  # there are none, and to look for them takes time
        report_to="none",
        disable_tqdm=False,
    )
    use_one_device(arguments)
    return arguments


def use_one_device(arguments: TrainingArguments) -> None:
    """Limit a process that was started alone to one GPU, and say how to use them all.

    The Trainer would use `torch.nn.DataParallel`, which is slow and makes batches larger than the
    settings say.
    """
    if arguments.n_gpu > 1:
        notice(
            f"One of {arguments.n_gpu} GPUs is used: start the command by torchrun "
            f"--nproc-per-node {arguments.n_gpu} -m, as in torchrun -m mvcn train, to use all."
        )
        arguments._n_gpu = 1
