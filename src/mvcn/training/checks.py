"""Check all that a training needs, before anything slow is imported or computed."""

import logging
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from mvcn.config import ObjectiveConfig, RunConfig
from mvcn.data.bad_images import require_any_image, require_images
from mvcn.data.posts import rare_classes
from mvcn.data.reading import TrainingPosts
from mvcn.errors import ConfigError, DataError
from mvcn.models.registry import MODELS, system
from mvcn.plugins import use_plugins
from mvcn.training.run_folder import check_run_folder, training_posts
from mvcn.types import Post

LOG = logging.getLogger(__name__)
SPECIAL_WEIGHTS = {"distillation_weight"}.union(
    *(model.objective_weights for model in MODELS.values())
)
"""Settings of the objective that only some networks support."""


def check_training(
    config: RunConfig, output: Path, *, resume: bool, overwrite: bool
) -> TrainingPosts:
    """Check settings, run folder and posts of a training, and return the posts.

    Args:
        config: All settings.
        output: Run folder, which stays as it is.
        resume: Continue an interrupted run.
        overwrite: Replace an existing run.

    Raises:
        MvcnError: Settings, data, images or the folder are not usable.
    """
    if resume and overwrite:
        raise ConfigError(
            "Use either --resume or --overwrite, not both: a run is continued or replaced."
        )
    use_plugins(config.training.plugins)
    check_compatibility(config)
    posts = training_posts(config)
    check_run_folder(output, config, resume=resume, overwrite=overwrite)
    check_modality(config.model.network, posts.train)
    _warn_of_rare_classes(posts)
    if system(config.model.network).reads_image:
        both = [*posts.train, *posts.dev]
        require_images(both, config.data.on_bad_image)
        require_any_image(both)
    return posts


def _warn_of_rare_classes(posts: TrainingPosts) -> None:
    counts = Counter(post.label for post in posts.train)
    rare = rare_classes({name: counts[name] for name in posts.class_names})
    if rare:
        LOG.warning(
            "Too few training posts to learn %s: add posts, or give them another label.", rare
        )


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
                f"it: set it to 0, or start from the model's own recipe with --model {name} (in an "
                f"experiment, recipe: {name})."
            )
    if config.model.lower_text_layers and {"objects", "attributes", "pairs"} & set(about.reads):
        raise ConfigError(
            f"Setting 'model.lower_text_layers' is above 0, but model '{name}' compares words with "
            "the text encoder's embeddings, which are those of a single layer: set it to 0."
        )
    _check_linear(config)
    for loss in (name for name, weight in config.objective.losses.items() if weight > 0):
        from mvcn.losses.plugged_in import plugged_in_loss  # imports PyTorch

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
