"""From posts to what a model reads: processor, images, texts, image attributes, batches.

Importing this package registers processor and models with Hugging Face's Auto classes.
"""

import logging
from collections.abc import Callable
from pathlib import Path

from transformers import AutoModelForSequenceClassification, AutoProcessor

from mvcn.config import ModelConfig
from mvcn.encoders.loading import has_vocabulary, load_image_processor, load_tokenizer
from mvcn.encoders.tokens import most_tokens
from mvcn.errors import RunError
from mvcn.files import require_allowed
from mvcn.inputs.processor import MvcnProcessor
from mvcn.models import MvcnConfig, MvcnForClassification, require_tokens

__all__ = ["MvcnProcessor", "build_processor", "limit_tokens", "load_model", "load_processor"]

_logger = logging.getLogger(__name__)

AutoProcessor.register(MvcnConfig, MvcnProcessor)


def build_processor(config: ModelConfig) -> MvcnProcessor:
    """Build the processor that belongs to the model's encoders.

    Raises:
        ConfigError: A tokenizer or image processor cannot be loaded, or reads fewer tokens.
    """
    tokenizer = load_tokenizer(config.text_encoder)
    require_tokens(config, tokenizer.model_max_length)
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
