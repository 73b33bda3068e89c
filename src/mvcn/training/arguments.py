"""What the Hugging Face Trainer is told of a run's settings."""

from pathlib import Path

from transformers import TrainingArguments

from mvcn.config import TrainingConfig
from mvcn.errors import ConfigError
from mvcn.inputs.batches import LABEL_FIELDS
from mvcn.training.checkpoints import CHECKPOINTS
from mvcn.training.processes import join_processes, require_enough_posts, runs_on_cpu
from mvcn.training.progress import notice

LOGS_PER_EPOCH = 10


def training_arguments(config: TrainingConfig, output: Path) -> TrainingArguments:
    """Return the arguments of a run in the folder `output`.

    Raises:
        ConfigError: Fewer posts in a batch than processes, or a precision without a device for it.
    """
    processes = join_processes().num_processes
    require_enough_posts(config.batch_size, processes)
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
        metric_for_best_model="f1_weighted",
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
    """Keep a process that was started alone to one GPU, and say how to use them all.

    The Trainer would spread its batches over threads (`torch.nn.DataParallel`), which is slow and
    would make the batches larger than the settings say.
    """
    if arguments.n_gpu > 1:
        notice(
            f"One of {arguments.n_gpu} GPUs is used: start the command by torchrun "
            f"--nproc-per-node {arguments.n_gpu} -m, as in torchrun -m mvcn train, to use all."
        )
        arguments._n_gpu = 1
