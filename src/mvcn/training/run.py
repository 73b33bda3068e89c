"""Train a model by the settings of a run, and write its run folder."""

import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import TrainerCallback, set_seed
from transformers.trainer_callback import ProgressCallback

from mvcn.config import ObjectiveConfig, RunConfig
from mvcn.data.bad_images import require_any_image, require_images
from mvcn.data.posts import fingerprint
from mvcn.data.reading import TrainingPosts, read_training_posts
from mvcn.errors import ConfigError
from mvcn.inputs import build_processor
from mvcn.inputs.attributes import AttributeModel
from mvcn.inputs.batches import EncodedPosts, PostEncoder
from mvcn.inputs.texts import frozen_texts
from mvcn.losses import Objective
from mvcn.losses.objective import uses_queue
from mvcn.models import build_model, system
from mvcn.models.classification import MvcnForClassification
from mvcn.training import run_folder
from mvcn.training.arguments import (
    check_compatibility,
    check_modality,
    early_stopping,
    training_arguments,
)
from mvcn.training.callbacks import (
    AUXILIARY_FOLDER,
    EpochLines,
    QueuePrefill,
    WeightAverage,
    load_auxiliary,
)
from mvcn.training.checkpoints import choose_checkpoint, writing
from mvcn.training.distributed import together
from mvcn.training.run_folder import Run
from mvcn.training.trainer import DevEvaluation, MvcnTrainer

LOG = logging.getLogger(__name__)
NOTHING_TO_READ = "without anything that the model reads"


def train(
    config: RunConfig,
    output: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    callbacks: Sequence[TrainerCallback] = (),
) -> Run:
    """Train, keep the epoch of the best dev weighted F1, and write the run folder.

    Under ``torchrun`` or ``accelerate launch`` all processes must call it with the same arguments;
    the first of them writes, and all return the same.

    Args:
        config: All settings.
        output: Run folder; new or empty unless `resume` or `overwrite`.
        resume: Continue from the newest complete checkpoint. The result is the same as without the
            interruption, bit for bit on the same processor with as many processes.
        overwrite: Replace an existing run.
        callbacks: Further callbacks of the Trainer; one may stop the training early.

    Returns:
        The run folder.

    Raises:
        MvcnError: Settings, data, images or the folder are not usable.
    """
    if resume and overwrite:
        raise ConfigError(
            "Give either --resume or --overwrite, not both: a run is continued or replaced."
        )
    check_compatibility(config)
    with together() as processes:
        return _train(config, output, processes, resume, overwrite, callbacks)


def _train(
    config: RunConfig,
    output: Path,
    processes: PartialState,
    resume: bool,
    overwrite: bool,
    callbacks: Sequence[TrainerCallback],
) -> Run:
    run = Run(output)  # what is known is set here, so that it is not read again
    run.config, run.posts = config, _read_posts(config)
    run_folder.check_run_folder(output, config, resume=resume, overwrite=overwrite)
    set_seed(config.training.seed)
    model = _build_model(config, run.posts)
    started = time.monotonic()
    with processes.local_main_process_first():  # the others find its features in the cache
        encoder, encoded = _encode(config, run.posts, model)
    features_ready = time.monotonic()
    if processes.is_main_process:
        run_folder.create_run_folder(output, config, resume=resume, overwrite=overwrite)
    _precompute(config, model, encoder, encoded)
    checkpoint = choose_checkpoint(output) if resume else None
    auxiliary = None
    if checkpoint is None and config.objective.prefill == "auxiliary":
        auxiliary = _train_auxiliary(config, output, model, encoded)
    trainer = build_trainer(
        config, output, model, encoded, auxiliary=auxiliary, callbacks=callbacks
    )
    trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
    seconds = {
        "image_features": round(features_ready - started, 1),
        "training": round(time.monotonic() - features_ready, 1),
    }
    _finish(run, trainer, encoder, encoded, seconds)
    processes.wait_for_everyone()
    return run


def _read_posts(config: RunConfig) -> TrainingPosts:
    """Read the posts; raise an error for missing images before anything is computed."""
    posts = read_training_posts(config.data, config.training.seed)
    check_modality(config.model.network, posts.train)
    if system(config.model.network).reads_image:
        both = [*posts.train, *posts.dev]
        require_images(both, config.data.on_bad_image)
        require_any_image(both)
    return posts


def _build_model(config: RunConfig, posts: TrainingPosts) -> MvcnForClassification:
    """Return the model to train, with a unimodal-label head if it is used and posts have labels."""
    has_unimodal_labels = any(post.text_label and post.image_label for post in posts.train)
    return build_model(
        config.model,
        posts.class_names,
        unimodal_label_head=config.objective.unimodal_label_weight > 0 and has_unimodal_labels,
    )


def _encode(
    config: RunConfig, posts: TrainingPosts, model: MvcnForClassification
) -> tuple[PostEncoder, dict[str, EncodedPosts]]:
    """Return the encoder of posts and the encoded splits; set the model's merge rule.

    Raises:
        BadImageError: The policy for bad images is ``error`` and an image is bad.
    """
    named = config.model.attribute_model
    encoder = PostEncoder.for_model(
        model, build_processor(config.model), None if named is None else AttributeModel.load(named)
    )
    encoded = {
        name: encoder.encode(split, config.data.on_bad_image, model.class_names)
        for name, split in (("train", posts.train), ("dev", posts.dev))
    }
    if model.unimodal_label_head is not None:
        table = encoded["train"].merge_table(len(model.class_names))
        model.unimodal_label_head.merge_table.copy_(table)
    return encoder, encoded


def _precompute(
    config: RunConfig,
    model: MvcnForClassification,
    encoder: PostEncoder,
    encoded: Mapping[str, EncodedPosts],
) -> None:
    """Compute what does not change in training: outputs of frozen layers, teacher targets."""
    if not config.training.compile:  # the compiler cannot follow how states replace the texts
        token_ids = [ids for split in encoded.values() for ids in split.token_ids]
        encoder.texts = frozen_texts(model, encoder.processor, token_ids)
    if config.objective.distillation_weight > 0:
        from mvcn.training.teacher import add_teacher_targets  # few runs have a teacher

        add_teacher_targets(encoded["train"], model, config.training.seed)


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
) -> MvcnTrainer:
    """Return a Trainer of the model by the objective, on the train and dev posts."""
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
        args=training_arguments(config.training, output),
        train_dataset=encoded["train"],
        eval_dataset=encoded["dev"],
        data_collator=encoded["train"].collate,
        callbacks=[early_stopping(config.training), *callbacks],
    )
    if config.objective.prefill == "auxiliary-run":
        auxiliary = load_auxiliary(config.objective.prefill_run, model)
    trainer.add_callback(_build_prefill(config, objective, encoded["train"], auxiliary))
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


def _finish(
    run: Run,
    trainer: MvcnTrainer,
    encoder: PostEncoder,
    encoded: Mapping[str, EncodedPosts],
    seconds: Mapping[str, float],
) -> None:
    """Evaluate the model on the dev posts and write the files of the run."""
    dev = trainer.evaluate_dev(encoded["dev"])
    trainer.model.config.temperature = dev.calibration.temperature
    run.environment = _environment(run.posts, trainer)
    run.metrics = _metrics(run.posts, encoded, trainer, dev) | {"seconds": seconds}
    weights = trainer.full_state_dict()
    if trainer.is_world_process_zero():
        with writing(run.folder, "make room, then finish the run by --resume."):
            run_folder.write_dev_predictions(
                run.folder, encoded["dev"].posts, dev.probabilities, run.posts.class_names
            )
            trainer.model.save_pretrained(run.folder, state_dict=weights)
            encoder.save(run.folder)
            run_folder.write_records(run, trainer.state.log_history)


def _environment(posts: TrainingPosts, trainer: MvcnTrainer) -> dict[str, Any]:
    digests = {"train": fingerprint(posts.train), "dev": fingerprint(posts.dev)}
    return run_folder.describe_environment() | {
        "seed": trainer.args.seed,
        "processes": trainer.args.world_size,
        "data_fingerprint": digests,
    }


def _metrics(
    posts: TrainingPosts,
    encoded: Mapping[str, EncodedPosts],
    trainer: MvcnTrainer,
    dev: DevEvaluation,
) -> dict[str, Any]:
    removed = {reason: len(ids) for reason, ids in posts.removed.items()}
    if count := sum(len(split.left_out) for split in encoded.values()):
        removed[NOTHING_TO_READ] = count
    return {
        "dev": dev.evaluation.to_mapping(),
        "calibration": asdict(dev.calibration),
        "dev_by_modality": {kind: group.to_mapping() for kind, group in dev.by_modality.items()},
        "posts": {name: len(split) for name, split in encoded.items()},
        "columns": dict(posts.columns),
        "unused_splits": dict(posts.unused_splits),
        "removed": removed,
        "bad_images": {name: split.bad_images for name, split in encoded.items()},
        "left_out": {name: split.left_out for name, split in encoded.items()},
        "epochs": trainer.epochs(),
    }
