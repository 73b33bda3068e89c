"""Check that a tokenizer and an image processor give what the encoders of a model read."""

import torch
from transformers import PreTrainedModel

from mvcn.encoders.images import image_tokens
from mvcn.errors import ConfigError, reason_of
from mvcn.inputs.processor import MvcnProcessor
from mvcn.models.pretrained import MvcnPreTrainedModel


def require_compatible(processor: MvcnProcessor, model: MvcnPreTrainedModel) -> None:
    """Raise a ConfigError where an encoder cannot read what the processor makes of posts.

    A checkpoint may lie next to the tokenizer or image processor of another one.

    Args:
        processor: Of the model.
        model: Its encoders, as far as it reads texts and images.
    """
    if model.text_encoder is not None:
        _require_vocabulary(processor, model.text_encoder)
    if model.image_encoder is not None:
        _require_image_size(processor, model.image_encoder)


def _require_vocabulary(processor: MvcnProcessor, encoder: PreTrainedModel) -> None:
    """Compare the vocabulary without added tokens: published checkpoints lack some of those."""
    tokenizer = processor.tokenizer
    marks = tokenizer("").input_ids
    highest = max(tokenizer.vocab_size - 1, processor.pad_id, *marks)
    size = getattr(encoder.get_input_embeddings(), "num_embeddings", highest + 1)
    if highest >= size:
        raise ConfigError(
            f"The tokenizer of '{tokenizer.name_or_path}' has {highest + 1} word pieces, but its "
            f"text encoder only {size}: save the tokenizer that it was trained with in the same "
            "folder."
        )


def _require_image_size(processor: MvcnProcessor, encoder: PreTrainedModel) -> None:
    pixels = torch.from_numpy(processor.blank)
    try:
        with torch.no_grad():
            image_tokens(encoder, pixels.unsqueeze(0).to(encoder.device))
    except (RuntimeError, ValueError, IndexError) as error:
        height, width = pixels.shape[-2:]
        raise ConfigError(
            f"The image encoder '{encoder.name_or_path}' does not read the images of {height} x "
            f"{width} pixels of its image processor ({reason_of(error)}): save the image processor "
            "that it was trained with in the same folder."
        ) from error
