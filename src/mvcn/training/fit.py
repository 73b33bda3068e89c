"""Fit one model: its objective, the Trainer, and where an interrupted training resumes."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path

from transformers import TrainerCallback
from transformers.integrations import TensorBoardCallback
from transformers.trainer_callback import ProgressCallback

from mvcn.config import ObjectiveConfig, RunConfig
from mvcn.errors import ConfigError
from mvcn.inputs.batches import EncodedPosts
from mvcn.losses import Objective
from mvcn.losses.objective import uses_queue
from mvcn.models.adapters import merge_adapters
from mvcn.models.classification import MvcnForClassification
from mvcn.training.arguments import early_stopping, training_arguments
from mvcn.training.callbacks import (
    AUXILIARY_FOLDER,
    CheckpointsWithinEpochs,
    EpochLines,
    QueuePrefill,
    WeightAverage,
    load_auxiliary,
)
from mvcn.training.checkpoints import choose_checkpoint
from mvcn.training.trainer import MvcnTrainer

LOG = logging.getLogger(__name__)
MEMBERS_FOLDER = "members"
"""Folder in a run folder for finished members and checkpoints, until all are trained."""
TRACKING = "tensorboard"


def fit(
    config: RunConfig,
    folder: Path,
    model: MvcnForClassification,
    encoded: Mapping[str, EncodedPosts],
    *,
    resume: bool,
    callbacks: Sequence[TrainerCallback] = (),
    selects_epoch: bool = True,
) -> MvcnTrainer:
    """Train a model, and return its Trainer.

    Args:
        config: All settings.
        folder: Where its checkpoints are.
        model: The model, which is changed.
        encoded: Its ``train`` posts, and the ``dev`` posts that are evaluated after each epoch.
        resume: Continue from the newest complete checkpoint.
        callbacks: Further callbacks of the Trainer.
        selects_epoch: Keep the best epoch on the ``dev`` posts; else there may be none.

    Raises:
        ConfigError: Layers are to be computed again, and there are none.
    """
    checkpoint = choose_checkpoint(folder) if resume else None
    auxiliary = None
    if checkpoint is None and config.objective.prefill == "auxiliary":
        auxiliary = _train_auxiliary(config, folder, model, encoded)
    trainer = build_trainer(
        config,
        folder,
        model,
        encoded,
        auxiliary=auxiliary,
        callbacks=callbacks,
        selects_epoch=selects_epoch,
    )
    _keep_tracked(trainer, folder)
    trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
    merge_adapters(trainer.model)
    return trainer


def _keep_tracked(trainer: MvcnTrainer, folder: Path) -> None:
    """Have TensorBoard write beside the checkpoints, which are deleted in the end."""
    for one in trainer.callback_handler.callbacks:
        if isinstance(one, TensorBoardCallback) and one.logging_dir is None:
            one.logging_dir = str(tracking_folder(folder))


def tracking_folder(folder: Path) -> Path:
    """Return where TensorBoard's files are: in the run folder, also those of a member.

    Args:
        folder: Of a run, or of a member in it.
    """
    is_member = folder.parent.name == MEMBERS_FOLDER
    return folder.parents[1] / TRACKING / folder.name if is_member else folder / TRACKING


def _train_auxiliary(
    config: RunConfig,
    output: Path,
    model: MvcnForClassification,
    encoded: Mapping[str, EncodedPosts],
) -> MvcnForClassification | None:
    """Return the trained auxiliary module, None if there is no queue to fill; leave no file."""
    if not uses_queue(config.objective):
        return None
    LOG.info("The auxiliary module is trained first and discarded once it has filled the queue.")
    folder = output / AUXILIARY_FOLDER
    auxiliary_config = config.model_copy()
    auxiliary_config.update(
        {
            "objective": {"congruity_weight": 0.0, "calibration": 0.0, "prefill": "none"},
            "training": {"epochs": int(config.objective.prefill_epochs)},
        }
    )
    trainer = build_trainer(auxiliary_config, folder, deepcopy(model), encoded)
    trainer.train()
    trainer.accelerator.wait_for_everyone()  # each process reads the best epoch from the folder
    if trainer.is_world_process_zero():
        shutil.rmtree(folder)
    trained: MvcnForClassification = trainer.model
    return trained


def build_trainer(
    config: RunConfig,
    output: Path,
    model: MvcnForClassification,
    encoded: Mapping[str, EncodedPosts],
    *,
    auxiliary: MvcnForClassification | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    selects_epoch: bool = True,
) -> MvcnTrainer:
    """Return a Trainer of the model by the objective, on the train and dev posts."""
    if config.training.gradient_checkpointing and not model.can_recompute_layers:
        raise ConfigError(
            "Setting 'training.gradient_checkpointing' is true, but the encoders of this model do "
            "not support it: set it to false."
        )
    objective = _build_objective(config.objective, model, encoded["train"])
    decay = config.training.weight_average_decay
    trainer = MvcnTrainer(
        model=model,
        objective=objective,
        encoder_learning_rate=config.training.encoder_learning_rate,
        class_names=model.class_names,
        batch_size=config.training.batch_size,
        balanced_sampling=config.training.balanced_sampling,
        average=WeightAverage(model, decay) if decay > 0 else None,
        args=training_arguments(
            config.training, output, len(encoded["train"]), selects_epoch=selects_epoch
        ),
        train_dataset=encoded["train"],
        eval_dataset=encoded.get("dev"),
        data_collator=encoded["train"].collate,
        callbacks=[*([early_stopping(config.training)] if selects_epoch else []), *callbacks],
    )
    if config.objective.prefill == "auxiliary-run":
        auxiliary = load_auxiliary(config.objective.prefill_run, model)
    trainer.add_callback(_build_prefill(config, objective, encoded["train"], auxiliary))
    trainer.add_callback(CheckpointsWithinEpochs())
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(EpochLines())
    return trainer


def _build_prefill(
    config: RunConfig,
    objective: Objective,
    posts: EncodedPosts,
    auxiliary: MvcnForClassification | None,
) -> QueuePrefill:
    return QueuePrefill(
        objective,
        posts,
        batch_size=config.training.eval_batch_size,
        prefill=config.objective.prefill,
        epochs=config.objective.prefill_epochs,
        seed=config.training.seed,
        auxiliary=auxiliary,
    )


def _build_objective(
    settings: ObjectiveConfig, model: MvcnForClassification, posts: EncodedPosts
) -> Objective:
    return Objective(
        settings,
        model.class_names,
        model.network.feature_size,
        has_unimodal_head=model.unimodal_label_head is not None,
        labels=posts.labels,
    )
