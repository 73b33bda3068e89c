"""Build a model from its settings: encoders, network, and names of what is in images."""

from functools import partial
from typing import Any

from transformers import PreTrainedModel

from mvcn.config import ModelConfig, NetworkConfig
from mvcn.encoders.loading import (
    load_image_encoder,
    load_object_classifier,
    load_text_encoder,
    load_tokenizer,
    sentiment_words,
)
from mvcn.encoders.tokens import keep_lowest_layers, most_tokens, reads_text_of
from mvcn.errors import ConfigError
from mvcn.models.classification import MvcnForClassification
from mvcn.models.image_attributes import pad_pieces, word_pieces
from mvcn.models.registry import system
from mvcn.settings import with_values


def build_model(
    config: ModelConfig, class_names: tuple[str, ...], *, unimodal_label_head: bool = False
) -> MvcnForClassification:
    """Build the model around its published encoders; all else is drawn from torch's generator.

    Args:
        config: Sizes and switches.
        class_names: Classes in the order of the logits.
        unimodal_label_head: Predict what annotators said of text and image, too.

    Raises:
        ConfigError: An encoder cannot be loaded or reads fewer tokens, sizes do not fit each
            other, or there is no such network or option of it.
    """
    kind = system(config.network).options
    options = with_values(kind(), config.options, "model.options")
    sizes, fill = _image_attributes(config)
    settings = {name: getattr(config, name) for name in NetworkConfig.model_fields}
    model = MvcnForClassification.from_encoders(
        _text_encoder(config),
        load_image_encoder(config.image_encoder),
        **settings | {"options": options.model_dump()},
        unimodal_label_head=unimodal_label_head,
        id2label=dict(enumerate(class_names)),
        label2id={name: index for index, name in enumerate(class_names)},
        image_attributes=sizes,
    )
    if model.image_attributes is not None:
        model.image_attributes.fill(*fill)
    return model


def _image_attributes(config: ModelConfig) -> tuple[dict[str, Any] | None, tuple[Any, ...]]:
    """Return the sizes of `ImageAttributes` and what fills it, where the network reads any."""
    reads = set(system(config.network).reads)
    if not reads & {"objects", "attributes", "pairs"}:
        return None, ()
    published = load_object_classifier(config.image_encoder)
    tokenizer = load_tokenizer(config.text_encoder)
    words = (published.names, sentiment_words() if "pairs" in reads else [])
    names, sentiments = (pad_pieces(word_pieces(tokenizer, part)) for part in words)
    sizes = {
        "num_objects": len(names),
        "image_width": published.weight.shape[1],
        "name_length": names.shape[1],
        "num_sentiments": len(sentiments),
        "sentiment_length": sentiments.shape[1],
        "reads_first_token": published.reads_first_token,
    }
    return sizes, (published, names, sentiments)


def _text_encoder(config: ModelConfig) -> PreTrainedModel:
    encoder = load_text_encoder(config.text_encoder)
    if config.text_layers is not None:
        keep_lowest_layers(encoder, config.text_layers)
    if "text" in system(config.network).reads:
        require_tokens(config, most_tokens(partial(reads_text_of, encoder), config.max_tokens))
    return encoder


def require_tokens(config: ModelConfig, most: int) -> None:
    """Raise a ConfigError where texts are to be longer than an encoder reads."""
    if config.max_tokens > most:
        raise ConfigError(
            f"Setting 'model.max_tokens' is {config.max_tokens}, but text encoder "
            f"'{config.text_encoder}' reads at most {most}: give --set model.max_tokens={most}."
        )
