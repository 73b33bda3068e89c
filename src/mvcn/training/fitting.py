"""Whether settings, network and posts go together: asked before anything long begins."""

from collections.abc import Sequence

from mvcn.config import RunConfig
from mvcn.errors import ConfigError, DataError
from mvcn.models import system
from mvcn.types import Post

BOTH = ("text", "image")
SPECIAL_WEIGHTS = (
    *("unimodal_label_weight", "distillation_weight", "penalty_weight"),
    *("label_contrast_weight", "data_contrast_weight"),
)
"""Settings of the objective that not every network can learn by."""


def require_fitting(config: RunConfig) -> None:
    """Raise a ConfigError where settings do not fit each other or the network."""
    about, name = system(config.model.network), config.model.network
    possible = {
        *about.learns_by,
        *(["distillation_weight"] if set(BOTH) <= set(about.reads) else []),
    }
    for setting in SPECIAL_WEIGHTS:
        if setting not in possible and getattr(config.objective, setting) > 0:
            raise ConfigError(
                f"Setting 'objective.{setting}' is above 0, but model '{name}' cannot learn by it: "
                f"start from the model's own recipe (--model {name}), or set it to 0."
            )
    epochs = config.objective.prefill_epochs
    if config.objective.prefill == "auxiliary" and (epochs < 1 or not epochs.is_integer()):
        raise ConfigError(
            f"Setting 'objective.prefill_epochs' is {epochs:g}, but prefill 'auxiliary' trains a "
            "module for whole epochs: set it to 1 or more."
        )
    if config.model.attribute_model is not None and not {"attributes", "pairs"} & set(about.reads):
        raise ConfigError(
            f"Model '{name}' reads no words for images: leave model.attribute_model out."
        )


def require_readable(network: str, posts: Sequence[Post]) -> None:
    """Raise a DataError where a network reads images alone or texts alone and no post has one."""
    has = {
        "text": any(post.text.strip() for post in posts),
        "image": any(post.image is not None for post in posts),
    }
    reads = system(network).reads
    if len(reads) == 1 and not has[reads[0]]:
        (part,) = reads
        raise DataError(
            f"Model '{network}' reads {part}s alone, but no training post has one: give posts "
            f"with {part}s, or choose another model (mvcn models)."
        )
