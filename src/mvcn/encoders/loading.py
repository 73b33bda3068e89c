"""Get encoders, tokenizers and image processors by packaged name, folder or hub name.

Nothing is downloaded for a packaged name or a folder. A hub name is looked up by Hugging Face,
which reads its own cache first.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.models.vit import ViTImageProcessorPil

from mvcn.encoders.efficientnet_lite import (
    EfficientNetLiteConfig,
    EfficientNetLiteModel,
    load_published_weights,
)
from mvcn.encoders.packaged import PACKAGED, packaged_folder
from mvcn.errors import ConfigError

AutoConfig.register(EfficientNetLiteConfig.model_type, EfficientNetLiteConfig)
AutoModel.register(EfficientNetLiteConfig, EfficientNetLiteModel)

EFFICIENTNET_LITE0 = "efficientnet-lite0"

# Decoders and resamplers differ between backends, so the same post would score differently on
# two machines; Pillow is on all of them.
IMAGE_BACKEND = "pil"


def load_text_encoder(name: str) -> PreTrainedModel:
    """Return a text encoder with its published weights, without pooler or head.

    Raises:
        ConfigError: `name` is no packaged encoder, folder or reachable hub name.
    """
    encoder = _from_pretrained(AutoModel, _source(name), "text encoder")
    return without_pooler(getattr(encoder, "text_model", encoder))


def load_image_encoder(name: str) -> PreTrainedModel:
    """Return an image encoder with its published weights, without pooler or head.

    Raises:
        ConfigError: `name` is no packaged encoder, folder or reachable hub name.
    """
    if name == EFFICIENTNET_LITE0:
        (file,) = PACKAGED[name].sha256
        return load_published_weights(packaged_folder(name) / file)
    encoder = _from_pretrained(AutoModel, _source(name), "image encoder")
    return without_pooler(getattr(encoder, "vision_model", encoder))


def load_tokenizer(name: str) -> Any:
    """Return the tokenizer that belongs to a text encoder.

    Raises:
        ConfigError: `name` is no packaged encoder, folder or reachable hub name.
    """
    return _from_pretrained(AutoTokenizer, _source(name), "tokenizer")


def load_image_processor(name: str) -> Any:
    """Return the image processor that belongs to an image encoder, always the Pillow one.

    Raises:
        ConfigError: `name` is no packaged encoder, folder or reachable hub name.
    """
    if name == EFFICIENTNET_LITE0:
        return _efficientnet_lite0_processor()
    return _from_pretrained(
        AutoImageProcessor, _source(name), "image processor", backend=IMAGE_BACKEND
    )


def build_encoder(config: PreTrainedConfig) -> PreTrainedModel:
    """Return an encoder of random weights, as a saved model rebuilds it before its own are read."""
    return without_pooler(AutoModel.from_config(config))


def without_pooler(encoder: PreTrainedModel) -> PreTrainedModel:
    """Drop a pooler that has weights: nothing here reads it, so it would never be trained."""
    pooler = getattr(encoder, "pooler", None)
    if isinstance(pooler, nn.Module) and next(pooler.parameters(), None) is not None:
        encoder.pooler = None
    return encoder


def _efficientnet_lite0_processor() -> Any:
    """Scale to [-1, 1) as in training, on the whole image: a post's words may be at its edge."""
    return ViTImageProcessorPil(
        size={"height": 224, "width": 224},
        resample=3,
        image_mean=[127 / 255] * 3,
        image_std=[128 / 255] * 3,
    )


def _source(name: str) -> str | Path:
    return packaged_folder(name) if name in PACKAGED else name


def _from_pretrained(auto: Any, source: str | Path, kind: str, **options: Any) -> Any:
    load: Callable[..., Any] = auto.from_pretrained
    try:
        return load(source, **options)
    except (OSError, ValueError) as error:
        packaged = ", ".join(PACKAGED)
        raise ConfigError(
            f"No {kind} can be loaded from '{source}': give a packaged name ({packaged}), a folder "
            f"saved by save_pretrained, or a hub name that this machine can reach."
        ) from error
