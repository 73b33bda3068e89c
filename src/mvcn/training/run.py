"""Train one model as the settings say, and leave a run folder."""

import shutil
import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import EarlyStoppingCallback, TrainerCallback, set_seed
from transformers.trainer_callback import ProgressCallback

from mvcn.config import ObjectiveConfig, RunConfig
from mvcn.data.bad_images import require_any_image, require_images
from mvcn.data.posts import fingerprint
from mvcn.data.reading import TrainingPosts, read_training_posts
from mvcn.inputs import build_processor
from mvcn.inputs.attributes import AttributeModel
from mvcn.inputs.batches import EncodedPosts, PostEncoder
from mvcn.inputs.texts import frozen_texts
from mvcn.losses import Objective
from mvcn.models import build_model, system
from mvcn.models.classification import MvcnForClassification
from mvcn.training import run_folder
from mvcn.training.arguments import check_compatibility, check_modality, training_arguments
from mvcn.training.callbacks import EpochLines, WeightAverage, notice
from mvcn.training.checkpoints import choose_checkpoint, writing
from mvcn.training.distributed import together
from mvcn.training.prefill import AUXILIARY_FOLDER, QueuePrefill, load_auxiliary
from mvcn.training.run_folder import Run
from mvcn.training.trainer import DevEvaluation, MvcnTrainer

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

    Under ``torchrun`` or ``accelerate launch`` all processes must call it alike; the first of them
    writes, and all return the same.

    Args:
        config: All settings.
        output: Run folder; new or empty unless `resume` or `overwrite`.
        resume: Continue from the newest complete checkpoint. The result is the same as without the
            interruption, bit for bit on the same processor with as many processes.
        overwrite: Replace the run that is there.
        callbacks: Further callbacks of the Trainer; one may stop the training early.

    Returns:
        The run folder.

    Raises:
        MvcnError: Anything that a user can fix: settings, data, images, folder.
    """
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
    run_folder.check_run_folder(output, config, resume=resume, overwrite=overwrite)
    run = Run(output)  # which is given what is known, so that it need not be read again
    run.config, run.posts = config, _read_posts(config)
    set_seed(config.training.seed)
    has_unimodal_labels = any(post.text_label and post.image_label for post in run.posts.train)
    model = build_model(
        config.model,
        run.posts.class_names,
        unimodal_label_head=config.objective.unimodal_label_weight > 0 and has_unimodal_labels,
    )
    started = time.monotonic()
    with processes.local_main_process_first():  # the others find its features in the cache
        encoder, encoded = _encode(config, run.posts, model)
    features_ready = time.monotonic()
    if processes.is_main_process:
        run_folder.create_run_folder(output, config, resume=resume, overwrite=overwrite)
    if not config.training.compile:  # the compiler cannot follow how states replace the texts
        token_ids = [ids for split in encoded.values() for ids in split.token_ids]
        encoder.texts = frozen_texts(model, encoder.processor, token_ids)
    if config.objective.distillation_weight > 0:
        from mvcn.training.teacher import add_teacher_targets  # few runs have a teacher

        add_teacher_targets(encoded["train"], model, config.training.seed)
    checkpoint = choose_checkpoint(output, notice) if resume else None
    auxiliary = None if checkpoint else _train_auxiliary(config, output, model, encoded)
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
    """Read the posts; raise an error where images are not there, before anything is computed."""
    posts = read_training_posts(config.data, config.training.seed)
    check_modality(config.model.network, posts.train)
    if system(config.model.network).reads_image:
        both = [*posts.train, *posts.dev]
        require_images(both, config.data.on_bad_image)
        require_any_image(both)
    return posts


def _encode(
    config: RunConfig, posts: TrainingPosts, model: MvcnForClassification
) -> tuple[PostEncoder, dict[str, EncodedPosts]]:
    """Return what encodes posts, and those of each split; the model learns the merge rule.

    Raises:
        BadImageError: The policy for bad images is ``error`` and there is one.
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


def _train_auxiliary(
    config: RunConfig,
    output: Path,
    model: MvcnForClassification,
    encoded: Mapping[str, EncodedPosts],
) -> MvcnForClassification | None:
    """Return the auxiliary module, where one is to fill a queue; it leaves no file."""
    settings = config.objective
    has_queue = _build_objective(settings, model, encoded["train"]).queue is not None
    if settings.prefill != "auxiliary" or not has_queue:
        return None
    notice("The auxiliary module is trained first; it is discarded once it has filled the queue.")
    folder = output / AUXILIARY_FOLDER
    alone = config.model_copy()
    alone.update(
        {
            "objective": {"congruity_weight": 0.0, "calibration": 0.0, "prefill": "none"},
            "training": {"epochs": int(settings.prefill_epochs)},
        }
    )
    trainer = build_trainer(alone, folder, deepcopy(model), encoded)
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
    """Put model, objective, train and dev posts together."""
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
        callbacks=[EarlyStoppingCallback(config.training.patience), *callbacks],
    )
    if config.objective.prefill == "auxiliary-run":
        auxiliary = load_auxiliary(config.objective.prefill_run, model)
    prefill = QueuePrefill(
        objective,
        encoded["train"],
        batch_size=config.training.eval_batch_size,
        prefill=config.objective.prefill,
        epochs=config.objective.prefill_epochs,
        seed=config.training.seed,
        auxiliary=auxiliary,
    )
    trainer.add_callback(prefill)
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(EpochLines())
    return trainer


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
    """Evaluate the model on dev and write all that the run leaves."""
    dev = trainer.evaluate_dev(encoded["dev"])
    trainer.model.config.temperature = dev.calibration.temperature
    run.environment = run_folder.describe_environment() | {
        "seed": trainer.args.seed,
        "processes": trainer.args.world_size,
        "data_fingerprint": {
            "train": fingerprint(run.posts.train),
            "dev": fingerprint(run.posts.dev),
        },
    }
    run.metrics = _metrics(run.posts, encoded, trainer, dev) | {"seconds": seconds}
    weights = trainer.full_state_dict()
    if trainer.is_world_process_zero():
        with writing(run.folder, "make room, then end the run by --resume."):
            run_folder.write_dev_predictions(
                run.folder, encoded["dev"].posts, dev.probabilities, run.posts.class_names
            )
            trainer.model.save_pretrained(run.folder, state_dict=weights)
            encoder.save(run.folder)
            run_folder.write_records(run, trainer.state.log_history)


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
        "dev_by_modality": {kind: part.to_mapping() for kind, part in dev.by_modality.items()},
        "posts": {name: len(split) for name, split in encoded.items()},
        "columns": dict(posts.columns),
        "unused_splits": dict(posts.unused_splits),
        "removed": removed,
        "bad_images": {name: split.bad_images for name, split in encoded.items()},
        "left_out": {name: split.left_out for name, split in encoded.items()},
        "epochs": trainer.epochs(),
    }
