"""The classifiers, all with one signature and one kind of output.

Importing this package registers them with Hugging Face's Auto classes.
"""

import logging
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoProcessor,
    PreTrainedModel,
)

from mvcn.config import ModelConfig
from mvcn.encoders.loading import (
    has_vocabulary,
    load_image_encoder,
    load_image_processor,
    load_text_encoder,
    load_tokenizer,
)
from mvcn.encoders.objects import load_object_classifier, sentiment_words
from mvcn.encoders.tokens import keep_lowest_layers, most_tokens, reads_text_of
from mvcn.errors import ConfigError, RunError
from mvcn.files import require_allowed
from mvcn.models.classification import MvcnForClassification
from mvcn.models.configuration import MvcnConfig
from mvcn.models.image_words import pad_pieces
from mvcn.models.processor import MvcnProcessor, word_pieces
from mvcn.models.systems import MODELS, system
from mvcn.strict_settings import read_options

__all__ = [
    "MODELS",
    "MvcnConfig",
    "MvcnForClassification",
    "MvcnProcessor",
    "build_model",
    "build_processor",
    "limit_tokens",
    "load_model",
    "load_processor",
    "system",
]

_logger = logging.getLogger(__name__)

AutoConfig.register(MvcnConfig.model_type, MvcnConfig)
AutoModelForSequenceClassification.register(MvcnConfig, MvcnForClassification)
AutoProcessor.register(MvcnConfig, MvcnProcessor)


def build_model(
    config: ModelConfig, class_names: tuple[str, ...], *, annotation_head: bool = False
) -> MvcnForClassification:
    """Build the model around its published encoders; all else is drawn from torch's generator.

    Args:
        config: Sizes and switches.
        class_names: Classes in the order of the logits.
        annotation_head: Predict what annotators said of text and image, too.

    Raises:
        ConfigError: An encoder cannot be loaded or reads fewer tokens, sizes do not fit each
            other, or there is no such network or option of it.
    """
    kind = system(config.network).options
    options: Any = read_options(kind, config.options, "model.options")
    sizes, fill = _image_words(config)
    model = MvcnForClassification.from_encoders(
        _text_encoder(config),
        load_image_encoder(config.image_encoder),
        network=config.network,
        options=asdict(options),
        hidden_size=config.hidden_size,
        feedforward_size=config.feedforward_size,
        num_heads=config.num_heads,
        num_fusion_layers=config.num_fusion_layers,
        fusion=config.fusion,
        attention=config.attention,
        dropout=config.dropout,
        frozen_text_layers=config.frozen_text_layers,
        freeze_text_embeddings=config.freeze_text_embeddings,
        freeze_image_encoder=config.freeze_image_encoder,
        annotation_head=annotation_head,
        modality_dropout=config.modality_dropout,
        id2label=dict(enumerate(class_names)),
        label2id={name: index for index, name in enumerate(class_names)},
        image_words=sizes,
    )
    if model.image_words is not None:
        model.image_words.fill(*fill)
    return model


def _image_words(config: ModelConfig) -> tuple[dict[str, Any] | None, tuple[Any, ...]]:
    """Return the sizes of `ImageWords` and what fills it, where the network reads its words."""
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
        _require_tokens(config, most_tokens(partial(reads_text_of, encoder), config.max_tokens))
    return encoder


def _require_tokens(config: ModelConfig, most: int) -> None:
    if config.max_tokens > most:
        raise ConfigError(
            f"Setting 'model.max_tokens' is {config.max_tokens}, but text encoder "
            f"'{config.text_encoder}' reads at most {most}: give --set model.max_tokens={most}."
        )


def build_processor(config: ModelConfig) -> MvcnProcessor:
    """Build the processor that belongs to the model's encoders.

    Raises:
        ConfigError: A tokenizer or image processor cannot be loaded, or reads fewer tokens.
    """
    tokenizer = load_tokenizer(config.text_encoder)
    _require_tokens(config, tokenizer.model_max_length)
    return MvcnProcessor(
        load_image_processor(config.image_encoder),
        tokenizer,
        max_tokens=config.max_tokens,
        mark_blanks=config.mark_blanks,
    )


def load_model(folder: Path) -> tuple[MvcnForClassification, MvcnProcessor]:
    """Return the model, ready to predict, and the processor that a run folder holds.

    Nothing but the folder is read: no encoder package, no hub. Texts are cut to what the text
    encoder reads; see `limit_tokens`.

    Raises:
        RunError: The folder is not a finished run, or a file in it is damaged.
    """
    processor = load_processor(folder)
    try:
        model, info = AutoModelForSequenceClassification.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except Exception as error:  # Hugging Face lets nearly every kind through for damaged files
        raise _damaged(folder, _first_sentence(error)) from error
    if not isinstance(model, MvcnForClassification) or any(info.values()):
        raise RunError(f"The run in {folder} is damaged: its weights do not fit its config.json.")
    model.eval()
    limit_tokens(processor, model.reads_text_of)
    return model, processor


def limit_tokens(processor: MvcnProcessor, reads: Callable[[int], bool]) -> None:
    """Let a processor cut texts to what is read, as a saved one may keep more.

    Args:
        processor: Changed in place.
        reads: Whether a text of so many word pieces is read.
    """
    most = most_tokens(reads, processor.max_tokens)
    if most < processor.max_tokens:
        _logger.warning(
            "The text encoder reads at most %d word pieces, fewer than the %d of the run: longer "
            "texts are cut to them.",
            *(most, processor.max_tokens),
        )
        processor.max_tokens = most


def load_processor(folder: Path) -> MvcnProcessor:
    """Return the processor that a run folder holds.

    Raises:
        RunError: The folder is not a finished run, or a file in it is damaged.
    """
    _require_allowed(folder)
    if not (folder / "config.json").is_file():
        unfinished = (folder / "config.yaml").is_file()
        raise RunError(
            f"The run in {folder} is not finished: go on with it by mvcn train --resume."
            if unfinished
            else f"{folder} is not a run folder: it has no config.json as mvcn train writes it."
        )
    try:
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # as above
        raise _damaged(folder, _first_sentence(error)) from error
    if not isinstance(processor, MvcnProcessor):
        raise RunError(f"{folder} is not a run folder: it has no processor of mvcn.")
    if not has_vocabulary(processor.tokenizer):
        raise _damaged(folder, "it has no vocabulary")
    return processor


def _require_allowed(folder: Path) -> None:
    """Raise a RunError where a file of a run is there and may not be read."""
    require_allowed(folder, RunError, "The run in")
    for path in folder.iterdir() if folder.is_dir() else ():
        require_allowed(path, RunError)


def _damaged(folder: Path, why: str) -> RunError:
    return RunError(
        f"The run in {folder} is damaged ({why}): get its files anew, or train it again."
    )


def _first_sentence(error: Exception) -> str:
    return str(error).strip().split("\n")[0].split(". ")[0].rstrip(".")
