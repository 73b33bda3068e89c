"""Load encoders, tokenizers, image processors and classifiers by packaged, folder or hub name.

Nothing is downloaded for a packaged name or a folder. A hub name is looked up by Hugging Face,
which reads its own cache first.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import (
    MODEL_MAPPING,
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
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
from mvcn.encoders.tokens import token_width
from mvcn.errors import ConfigError
from mvcn.files import require_allowed

AutoConfig.register(EfficientNetLiteConfig.model_type, EfficientNetLiteConfig)
AutoModel.register(EfficientNetLiteConfig, EfficientNetLiteModel)

EFFICIENTNET_LITE0 = "efficientnet-lite0"
ENCODERS = ("minilm-l6", EFFICIENTNET_LITE0)

# Decoders and resamplers differ between backends, so the same post would score differently on
# two machines; Pillow is on all of them.
IMAGE_BACKEND = "pil"


@dataclass(frozen=True, slots=True)
class ObjectClassifier:
    """The last layer of a published image classifier: from an encoder's tokens to objects."""

    weight: Float[Tensor, "object width"]
    bias: Float[Tensor, " object"]
    names: tuple[str, ...]
    """What each object is called."""
    reads_first_token: bool
    """Whether it reads the first token of the encoder, or the mean of all."""


def load_text_encoder(name: str) -> PreTrainedModel:
    """Return a text encoder with its published weights, without pooler or head.

    Raises:
        ConfigError: `name` is no packaged encoder, folder or reachable hub name.
    """
    return _load_encoder(name, "text encoder", part="text_model")


def load_image_encoder(name: str) -> PreTrainedModel:
    """Return an image encoder with its published weights, without pooler or head.

    Raises:
        ConfigError: `name` is no packaged encoder, folder or reachable hub name.
    """
    if name == EFFICIENTNET_LITE0:
        (file,) = PACKAGED[name].sha256
        return load_published_weights(packaged_folder(name) / file)
    return _load_encoder(name, "image encoder", part="vision_model")


def load_tokenizer(name: str) -> Any:
    """Return the tokenizer that belongs to a text encoder.

    Raises:
        ConfigError: `name` is no packaged encoder, folder or reachable hub name.
    """
    tokenizer = _from_pretrained(AutoTokenizer, _source(name), "tokenizer")
    if tokenizer.pad_token_id is None:
        raise ConfigError(f"The tokenizer of '{name}' has no padding token: choose another.")
    if not has_vocabulary(tokenizer):
        raise _damaged("tokenizer", name, "it has no vocabulary")
    return tokenizer


def has_vocabulary(tokenizer: Any) -> bool:
    """Return whether a tokenizer knows words: without its file it has special tokens alone."""
    return len(tokenizer) > len(tokenizer.all_special_ids)


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


def load_object_classifier(name: str) -> ObjectClassifier:
    """Return the published classifier of an image encoder.

    Raises:
        ConfigError: The encoder was published without one, or class names are not installed.
    """
    if name == EFFICIENTNET_LITE0:
        return _lite0_classifier()
    model = load_pretrained(AutoModelForImageClassification, name, "image classifier")
    last = getattr(model, "classifier", None)
    if not isinstance(last, nn.Linear) or last.in_features != token_width(model.config):
        raise ConfigError(
            f"'{name}' has no layer that names objects from its tokens: choose another image "
            "encoder, or a model that needs no objects."
        )
    names = tuple(model.config.id2label[index] for index in range(last.out_features))
    has_first = any("cls_token" in weight for weight, _ in model.named_parameters())
    return ObjectClassifier(last.weight.detach(), last.bias.detach(), names, has_first)


def build_encoder(config: PreTrainedConfig) -> PreTrainedModel:
    """Return an encoder of random weights, as a saved model rebuilds it before its own are read."""
    return without_pooler(AutoModel.from_config(config))


def without_pooler(encoder: PreTrainedModel) -> PreTrainedModel:
    """Drop a pooler that has weights: nothing here reads it, so it would never be trained."""
    pooler = getattr(encoder, "pooler", None)
    if isinstance(pooler, nn.Module) and next(pooler.parameters(), None) is not None:
        encoder.pooler = None
    return encoder


def _load_encoder(name: str, kind: str, part: str) -> PreTrainedModel:
    """Load an encoder, or the `part` of one that reads both text and images."""
    both, found = _from_pretrained(
        AutoModel, _source(name), kind, use_safetensors=True, output_loading_info=True
    )
    encoder = getattr(both, part, both)
    if encoder.config.is_encoder_decoder or type(encoder.config) not in MODEL_MAPPING:
        raise ConfigError(
            f"'{name}' cannot be the {kind}: type '{encoder.config.model_type}' is not an encoder "
            "that can be rebuilt from a saved run."
        )
    _require_all([weight for weight in found["missing_keys"] if "pooler" not in weight], kind, name)
    return without_pooler(encoder)


def _lite0_classifier() -> ObjectClassifier:
    (names_file,) = PACKAGED["imagenet-names"].sha256
    names = json.loads((packaged_folder("imagenet-names") / names_file).read_text("utf-8"))
    (file,) = PACKAGED[EFFICIENTNET_LITE0].sha256
    published = torch.load(packaged_folder(EFFICIENTNET_LITE0) / file, weights_only=True)
    return ObjectClassifier(published["_fc.weight"], published["_fc.bias"], tuple(names), False)


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


def load_part(auto: Any, name: str, kind: str) -> Any:
    """Return what one of Hugging Face's Auto classes loads that has no weights.

    Raises:
        ConfigError: It cannot be loaded.
    """
    return _from_pretrained(auto, name, kind, choices="")


def load_pretrained(auto: Any, name: str, kind: str) -> Any:
    """Return what one of Hugging Face's Auto classes loads, with every weight set.

    Raises:
        ConfigError: It cannot be loaded, or weights are missing.
    """
    loaded, found = _from_pretrained(
        auto, name, kind, choices="", use_safetensors=True, output_loading_info=True
    )
    _require_all(found["missing_keys"], kind, name)
    return loaded


def _from_pretrained(
    auto: Any,
    source: str | Path,
    kind: str,
    *,
    choices: str = f"a packaged name ({', '.join(ENCODERS)}), ",
    **options: Any,
) -> Any:
    load: Callable[..., Any] = auto.from_pretrained
    try:
        return load(source, trust_remote_code=False, **options)
    except (OSError, ValueError) as error:
        _require_allowed(kind, Path(source))
        raise ConfigError(
            f"No {kind} can be loaded from '{source}': give {choices}a folder saved by "
            f"save_pretrained, or a hub name that this machine can reach."
        ) from error
    except Exception as error:  # Hugging Face lets nearly every kind through for damaged files
        _require_allowed(kind, Path(source))
        raise _damaged(kind, source, str(error).strip().split("\n")[0].rstrip(".")) from error


def _require_all(missing: Iterable[str], kind: str, name: str) -> None:
    if weights := sorted(missing):
        raise _damaged(kind, name, f"{len(weights)} weights such as {weights[0]} are missing")


def _require_allowed(kind: str, folder: Path) -> None:
    """Raise a ConfigError where a folder or a file in it is there and may not be read."""
    for path in (folder, *sorted(folder.glob("*"))):
        require_allowed(path, ConfigError, f"The {kind}")


def _damaged(kind: str, source: str | Path, why: str) -> ConfigError:
    return ConfigError(
        f"The {kind} from '{source}' does not load ({why}): get its files anew, or choose another."
    )
