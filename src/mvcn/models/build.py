"""Build a classifier around published encoders, by the settings of a run."""

from functools import partial

from transformers import PreTrainedModel

from mvcn.config import ModelConfig, NetworkConfig
from mvcn.encoders.loading import load_image_encoder, load_text_encoder
from mvcn.encoders.tokens import keep_lowest_layers, most_tokens, reads_text_of
from mvcn.errors import ConfigError
from mvcn.models.classification import MvcnForClassification
from mvcn.models.image_attributes import PublishedAttributes
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
    settings = {name: getattr(config, name) for name in NetworkConfig.model_fields}
    model = MvcnForClassification.from_encoders(
        _load_text_encoder(config),
        load_image_encoder(config.image_encoder),
        **settings | {"options": options.model_dump()},
        unimodal_label_head=unimodal_label_head,
        id2label=dict(enumerate(class_names)),
        label2id={name: index for index, name in enumerate(class_names)},
        image_attributes=attributes and attributes.sizes,
    )
    if model.image_attributes is not None and attributes is not None:
        model.image_attributes.fill(attributes)
    return model


def _load_text_encoder(config: ModelConfig) -> PreTrainedModel:
    encoder = load_text_encoder(config.text_encoder)
    if config.text_layers is not None:
        keep_lowest_layers(encoder, config.text_layers)
    if "text" in system(config.network).reads and config.max_tokens != "auto":
        require_tokens(config, most_tokens(partial(reads_text_of, encoder), config.max_tokens))
    return encoder


def require_tokens(config: ModelConfig, most: int) -> None:
    """Raise a ConfigError where `model.max_tokens` is more than the text encoder reads."""
    if config.max_tokens != "auto" and config.max_tokens > most:
        raise ConfigError(
            f"Setting 'model.max_tokens' is {config.max_tokens}, but text encoder "
            f"'{config.text_encoder}' reads at most {most}: give --set model.max_tokens={most}."
        )
