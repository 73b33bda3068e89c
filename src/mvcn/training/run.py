"""Train a model by the settings of a run, and write its run folder."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState
from jaxtyping import Int
from torch import Tensor
from transformers import TrainerCallback, set_seed

from mvcn.config import RunConfig
from mvcn.data.posts import fingerprint
from mvcn.data.reading import TrainingPosts
from mvcn.inputs.attributes import AttributeModel
from mvcn.inputs.batches import EncodedPosts, PostEncoder
from mvcn.inputs.processor import build_processor
from mvcn.inputs.texts import frozen_texts
from mvcn.models.build import build_model, join_members
from mvcn.models.classification import MvcnForClassification
from mvcn.models.registry import system
from mvcn.runtime.text_counts import TextCounts
from mvcn.training.baselines import Baselines, fit_baselines
from mvcn.training.checkpoints import writing
from mvcn.training.checks import check_training
from mvcn.training.distributed import together
from mvcn.training.durations import Durations
from mvcn.training.environment import describe_environment, describe_plugins
from mvcn.training.export import export_after_training
from mvcn.training.fit import fit
from mvcn.training.held_out import HeldOutEvaluation, evaluate_dev, evaluate_logits
from mvcn.training.held_out_files import write_predictions
from mvcn.training.linear_networks import fit_linear_network
from mvcn.training.members import (
    assign_folds,
    cross_validation_folds,
    drop_members,
    fit_members,
)
from mvcn.training.records import write_records
from mvcn.training.run_folder import Run, create_run_folder
from mvcn.training.stacking import Fitted, fit_linear_models, stack_linear_models
from mvcn.training.teacher import add_teacher_targets

LOG = logging.getLogger(__name__)
FOLDS = 5
"""Folds that choose the penalty of a linear network where there are none of members."""
NOTHING_TO_READ = "without anything that the model reads"


def train(
    config: RunConfig,
    output: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    callbacks: Sequence[TrainerCallback] = (),
    posts: TrainingPosts | None = None,
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
        posts: What `check_training` has returned for the same arguments, if it was called before.

    Returns:
        The run folder.

    Raises:
        MvcnError: Settings, data, images or the folder are not usable.
    """
    with together() as processes:
        posts = posts or check_training(config, output, resume=resume, overwrite=overwrite)
        return _train(config, output, posts, processes, resume, overwrite, callbacks)


def _train(
    config: RunConfig,
    output: Path,
    posts: TrainingPosts,
    processes: PartialState,
    resume: bool,
    overwrite: bool,
    callbacks: Sequence[TrainerCallback],
) -> Run:
    run = Run(output)  # what is known is set here, so that it is not read again
    run.config, run.posts = config, posts
    set_seed(config.training.seed)
    model, durations = _build_model(config, run.posts), Durations(resumed=resume)
    with processes.local_main_process_first():  # the others find its features in the cache
        encoder, encoded = _encode(config, run.posts, model)
    durations.start_training()
    if processes.is_main_process:
        create_run_folder(output, config, resume=resume, overwrite=overwrite)
    processes.wait_for_everyone()
    folds = _folds(config, run.posts, encoded["train"])
    _precompute(config, model, encoder, encoded)
    compute_baselines = partial(
        fit_baselines, model, encoded["train"], encoded["dev"], folds, config.training.seed
    )
    is_linear = system(config.model.network).is_linear
    if folds is None or is_linear:
        baselines = compute_baselines()
        trained = (
            _fit_linear(run, model, encoded, folds)
            if is_linear
            else _train_one(run, model, encoded, resume, callbacks)
        )
    else:
        trained, baselines = _train_members(
            run, model, encoded, folds, compute_baselines, resume, callbacks
        )
    passed = durations.to_mapping()
    compared = _compare(run, trained, encoded, baselines.describe)
    _finish(run, trained, compared, encoder, encoded, passed)
    if config.training.export and processes.is_main_process:
        export_after_training(run)
    processes.wait_for_everyone()
    return run


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained model, its log, and its evaluation on posts that it was not trained on."""

    model: MvcnForClassification
    log: Sequence[Mapping[str, Any]]
    epochs: Mapping[str, int]
    held_out: Mapping[str, HeldOutEvaluation]
    """``dev``, and for an ensemble ``out_of_fold``, by each member for the fold that it left."""
    folds: Int[np.ndarray, " train"] | None = None
    """The member that was not trained on each post, from 0."""
    weights: Mapping[str, Tensor] | None = None
    """Complete weights, where devices share them."""


def _folds(
    config: RunConfig, posts: TrainingPosts, train: EncodedPosts
) -> Int[np.ndarray, " train"] | None:
    """Return the fold of each training post, one for each member; None for a plain model."""
    members = config.training.num_members(len(posts.train) + len(posts.dev))
    return assign_folds(train, members, config.training.seed) if members > 1 else None


def _train_one(
    run: Run,
    model: MvcnForClassification,
    encoded: Mapping[str, EncodedPosts],
    resume: bool,
    callbacks: Sequence[TrainerCallback],
) -> Trained:
    """Train one model; the dev posts select its epoch and fit its temperature."""
    _add_teacher_targets(run.config, model, encoded["train"])
    trainer = fit(run.config, run.folder, model, encoded, resume=resume, callbacks=callbacks)
    logits, target = trainer.logits(encoded["dev"]), run.config.training.target
    return Trained(
        trainer.model,
        trainer.state.log_history,
        trainer.epochs(),
        {"dev": evaluate_logits(logits, encoded["dev"], model.class_names, target)},
        weights=trainer.full_state_dict(),
    )


def _train_members(
    run: Run,
    model: MvcnForClassification,
    encoded: Mapping[str, EncodedPosts],
    folds: Int[np.ndarray, " train"],
    compute_baselines: Callable[[], Baselines],
    resume: bool,
    callbacks: Sequence[TrainerCallback],
) -> tuple[Trained, Baselines]:
    """Train an ensemble; dev posts, if a split names some, select nothing."""
    config, train, names = run.config, encoded["train"], model.class_names
    target = config.training.target

    def build(learned: EncodedPosts) -> MvcnForClassification:
        member = _build_model(config, run.posts)
        _set_merge_table(member, learned)
        _add_teacher_targets(config, member, learned)
        return member

    def fit_linear() -> tuple[Baselines, Mapping[str, Fitted]]:
        return compute_baselines(), (
            fit_linear_models(model, train, folds) if config.model.stack_linear else {}
        )

    found, (baselines, models) = fit_members(
        config,
        run.folder,
        build,
        train,
        folds,
        beside=fit_linear,
        resume=resume,
        callbacks=callbacks,
    )
    logits, linear = found.logits, None
    if models and (stacked := stack_linear_models(models, train.labels, logits)):
        linear, logits = stacked[0], logits + stacked[1]
    ensemble = join_members(model, [one.weights for one in found.members], linear)
    held_out = {"out_of_fold": evaluate_logits(logits, train, names, target)}
    held_out |= evaluate_dev(ensemble, encoded["dev"], target, held_out["out_of_fold"])
    epochs = config.training.num_epochs(len(train))
    counts = {"trained": epochs, "best": epochs}
    return Trained(ensemble, found.log, counts, held_out, folds), baselines


def _fit_linear(
    run: Run,
    model: MvcnForClassification,
    encoded: Mapping[str, EncodedPosts],
    folds: Int[np.ndarray, " train"] | None,
) -> Trained:
    """Fit a linear network on all training posts; the folds evaluate others of its kind."""
    training, train = run.config.training, encoded["train"]
    chosen = cross_validation_folds(train, FOLDS, training.seed) if folds is None else folds
    out_of_fold = fit_linear_network(model, train, chosen)
    model.eval()
    held_out: dict[str, HeldOutEvaluation] = {}
    if folds is not None and out_of_fold is not None:
        held_out["out_of_fold"] = evaluate_logits(
            out_of_fold, train, model.class_names, training.target
        )
    held_out |= evaluate_dev(model, encoded["dev"], training.target, held_out.get("out_of_fold"))
    return Trained(model, [], {"trained": 1, "best": 1}, held_out)


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
    named, processor = config.model.attribute_model, build_processor(config.model)
    if config.model.max_tokens == "auto":
        texts = [processor.text_of(post) for post in posts.train]
        processor.choose_max_tokens(texts, model.most_tokens)
    attributes = AttributeModel.load(named) if named else None
    encoder = PostEncoder.for_model(model, processor, attributes, by_graph=config.training.export)
    encoded = {
        name: encoder.encode(split, config.data.on_bad_image, model.class_names)
        for name, split in (("train", posts.train), ("dev", posts.dev))
    }
    present = encoded["train"].present
    model.config.learned_inputs = [name for name in ("text", "image") if present[name].any()]
    sum((counts for split in encoded.values() for counts in split.text_counts), TextCounts()).log()
    _set_merge_table(model, encoded["train"])
    return encoder, encoded


def _set_merge_table(model: MvcnForClassification, posts: EncodedPosts) -> None:
    if model.unimodal_label_head is not None:
        table = posts.merge_table(len(model.class_names))
        model.unimodal_label_head.merge_table.copy_(table)


def _precompute(
    config: RunConfig,
    model: MvcnForClassification,
    encoder: PostEncoder,
    encoded: Mapping[str, EncodedPosts],
) -> None:
    """Compute what does not change in training: the outputs of frozen layers."""
    if not config.training.compile:  # the compiler cannot follow how states replace the texts
        token_ids = (split.token_ids for split in encoded.values())
        encoder.texts = frozen_texts(model, encoder.processor, *token_ids)


def _add_teacher_targets(
    config: RunConfig, model: MvcnForClassification, train: EncodedPosts
) -> None:
    if config.objective.distillation_weight > 0:
        add_teacher_targets(train, model, config.training.seed)


def _finish(
    run: Run,
    trained: Trained,
    compared: Mapping[str, Any],
    encoder: PostEncoder,
    encoded: Mapping[str, EncodedPosts],
    durations: Mapping[str, Any],
) -> None:
    """Write the files of the run."""
    model, held_out = trained.model, trained.held_out
    first = next(iter(held_out.values()))
    model.config.temperature = first.calibration.temperature
    if run.config.training.target == "macro-f1":
        model.config.logit_offsets = list(first.balance.offsets)
    run.environment = _environment(run)
    run.metrics = {
        **_metrics(run, encoded, trained),
        "baselines": dict(compared),
        **durations,
    }
    if PartialState().is_main_process:
        with writing(run.folder, "free some space, then finish the run with --resume."):
            found = {name: one.probabilities for name, one in held_out.items()}
            write_predictions(run.folder, encoded, model.class_names, found, trained.folds)
            model.save_pretrained(run.folder, state_dict=trained.weights)
            encoder.save(run.folder)
            write_records(run, trained.log)
            drop_members(run.folder)


def _compare(
    run: Run,
    trained: Trained,
    encoded: Mapping[str, EncodedPosts],
    describe: Callable[..., dict[str, Any]],
) -> dict[str, Any]:
    """Return what baselines say of the model: their scores, and the gains over them."""
    (name, held_out), *_ = trained.held_out.items()
    return describe(
        held_out.probabilities,
        encoded["dev" if name == "dev" else "train"].labels,
        trained.model.class_names,
        is_linear=system(run.config.model.network).is_linear,
    )


def _environment(run: Run) -> dict[str, Any]:
    splits = {"train": run.posts.train, "dev": run.posts.dev}
    return describe_environment() | {
        "seed": run.config.training.seed,
        "processes": PartialState().num_processes,
        "plugins": describe_plugins(run.config),
        "data_fingerprint": {name: fingerprint(posts) for name, posts in splits.items() if posts},
    }


def _metrics(run: Run, encoded: Mapping[str, EncodedPosts], trained: Trained) -> dict[str, Any]:
    posts, given = run.posts, run.config.data.columns
    removed = {reason: len(ids) for reason, ids in posts.removed.items()}
    if count := sum(len(split.left_out) for split in encoded.values()):
        removed[NOTHING_TO_READ] = count
    held_out = trained.held_out
    first = next(iter(held_out.values()))
    return {
        **{name: one.evaluation.to_mapping() for name, one in held_out.items()},
        "calibration": asdict(first.calibration),
        "class_balance": asdict(first.balance) | {"offsets": [*first.balance.offsets]},
        "by_modality": {kind: group.to_mapping() for kind, group in first.by_modality.items()},
        "posts": {name: len(split) for name, split in encoded.items()},
        "members": 1 if trained.folds is None else int(trained.folds.max()) + 1,
        "columns": {**{ours: "" for ours in given if not given[ours]}, **posts.columns},
        "unused_splits": dict(posts.unused_splits),
        "removed": removed,
        "bad_images": {name: split.bad_images for name, split in encoded.items()},
        "left_out": {name: split.left_out for name, split in encoded.items()},
        "texts": {
            name: sum(split.text_counts, TextCounts()).to_mapping()
            for name, split in encoded.items()
        },
        "epochs": dict(trained.epochs),
    }
