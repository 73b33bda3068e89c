"""Build a classifier around published encoders, or of members that were trained from them."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import partial

from torch import Tensor, nn
from transformers import PreTrainedModel

from mvcn.encoders.loading import load_image_encoder, load_text_encoder
from mvcn.encoders.tokens import (
    keep_lowest_layers,
    most_lower_layers,
    most_tokens,
    reads_text_of,
)
from mvcn.errors import ConfigError
from mvcn.model_config import AdapterConfig, ModelConfig, NetworkConfig
from mvcn.models.adapters import add_adapters, merge_adapters
from mvcn.models.classification import MvcnForClassification
from mvcn.models.ensemble import Ensemble
from mvcn.models.image_attributes import PublishedAttributes
from mvcn.models.linear_stack import LinearStack
from mvcn.models.registry import system
from mvcn.settings import with_values


def build_model(
    config: ModelConfig, class_names: tuple[str, ...], *, unimodal_label_head: bool = False
) -> MvcnForClassification:
    """Build a model around its published encoders; torch's generator draws all other weights.

    Args:
        config: Sizes and switches.
        class_names: Classes in the order of the logits.
        unimodal_label_head: Predict the labels of text and image, too.

    Raises:
        ConfigError: An encoder cannot be loaded or reads fewer tokens, sizes are incompatible, or
            there is no such network or option of it.
    """
    about = system(config.network)
    options = with_values(about.options(), config.options, "model.options")
    attributes = PublishedAttributes.load(config.image_encoder, config.text_encoder, about.reads)
    text_encoder = _load_text_encoder(config)
    settings = {name: getattr(config, name) for name in NetworkConfig.model_fields}
    settings["lower_text_layers"] = _lower_text_layers(config, text_encoder)
    model = MvcnForClassification.from_encoders(
        text_encoder,
        load_image_encoder(config.image_encoder, config.attn_implementation),
        **settings | {"options": options.model_dump()},
        plugin=about.plugin and about.plugin.to_mapping() | {"reads": [*about.reads]},
        unimodal_label_head=unimodal_label_head,
        id2label=dict(enumerate(class_names)),
        label2id={name: index for index, name in enumerate(class_names)},
        image_attributes=attributes and attributes.sizes,
    )
    if model.image_attributes is not None and attributes is not None:
        model.image_attributes.fill(attributes)
    _add_adapters(model, config)
    return model


def _add_adapters(model: MvcnForClassification, config: ModelConfig) -> None:
    """Give the encoders their adapters, if they have any.

    Raises:
        ConfigError: An encoder with adapters is frozen, not there, or cannot have any.
    """
    kinds: Sequence[tuple[str, AdapterConfig, PreTrainedModel | None, bool, str]] = (
        (
            "text",
            config.text_adapter,
            model.text_encoder,
            model.config.text_encoder_is_frozen,
            "model.frozen_text_layers to 0",
        ),
        (
            "image",
            config.image_adapter,
            model.image_encoder,
            model.image_encoder_is_frozen,
            "model.freeze_image_encoder to false",
        ),
    )
    for kind, settings, encoder, is_frozen, remedy in kinds:
        if not settings.rank:
            continue
        if encoder is None:
            raise ConfigError(
                f"Setting 'model.{kind}_adapter.rank' is {settings.rank}, but model "
                f"'{config.network}' has no {kind} encoder: set it to 0."
            )
        if is_frozen:
            raise ConfigError(
                f"Setting 'model.{kind}_adapter.rank' is {settings.rank}, but the {kind} encoder "
                f"is frozen: set {remedy}, which then trains the adapters alone."
            )
        add_adapters(encoder, settings, kind)
    model.freeze_parts()


def join_members(
    model: MvcnForClassification,
    weights: Sequence[Mapping[str, Tensor]],
    linear: LinearStack | None = None,
) -> MvcnForClassification:
    """Return one model of several that were trained from the same encoders.

    Args:
        model: One of them, which gives its encoders, and whose weights are replaced.
        weights: `trained_weights` of each.
        linear: Linear models, whose logits are added to those of each.
    """
    merge_adapters(model)
    config = deepcopy(model.config)
    config.members = len(weights)
    if linear is not None:
        config.linear_inputs = [*linear.means]
        config.ngram_buckets = 0 if linear.ngrams is None else len(linear.ngrams.idf)
    ensemble = MvcnForClassification(config, model.text_encoder, model.image_encoder)
    ensemble.image_attributes = model.image_attributes
    for number, one in enumerate(weights):
        _set_member(ensemble, number, one)
    assert isinstance(ensemble.network, Ensemble)
    ensemble.network.linear = linear
    ensemble.eval()
    return ensemble


def _set_member(
    ensemble: MvcnForClassification, number: int, weights: Mapping[str, Tensor]
) -> None:
    assert isinstance(ensemble.network, Ensemble)
    homes: dict[str, nn.Module] = {"network": ensemble.network.members[number]}
    if "text" in ensemble.own_fields and ensemble.text_encoders:
        homes["text_encoder"] = ensemble.text_encoders[number]
    if "image" in ensemble.own_fields and ensemble.image_encoders:
        homes["image_encoder"] = ensemble.image_encoders[number]
    for prefix, home in homes.items():
        own = {n.partition(".")[2]: w for n, w in weights.items() if n.startswith(f"{prefix}.")}
        home.load_state_dict(own, strict=False)


def _load_text_encoder(config: ModelConfig) -> PreTrainedModel:
    encoder = load_text_encoder(config.text_encoder, config.attn_implementation)
    if config.text_layers is not None:
        keep_lowest_layers(encoder, config.text_layers)
    if "text" in system(config.network).reads and config.max_tokens != "auto":
        require_tokens(config, most_tokens(partial(reads_text_of, encoder), config.max_tokens))
    return encoder


def _lower_text_layers(config: ModelConfig, encoder: PreTrainedModel) -> int:
    frozen = 0 if config.frozen_text_layers == "all" else config.frozen_text_layers
    return min(config.lower_text_layers, most_lower_layers(encoder, frozen))


def require_tokens(config: ModelConfig, most: int) -> None:
    """Raise a ConfigError where `model.max_tokens` is more than the text encoder reads."""
    if config.max_tokens != "auto" and config.max_tokens > most:
        raise ConfigError(
            f"Setting 'model.max_tokens' is {config.max_tokens}, but text encoder "
            f"'{config.text_encoder}' reads at most {most}: use --set model.max_tokens={most}."
        )
