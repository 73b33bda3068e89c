"""Sizes and switches of a classifier as Hugging Face keeps them, beside the weights."""

from typing import Any, no_type_check

from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from mvcn.types import AttentionKind, FusionKind


@no_type_check  # Hugging Face makes its constructor take keywords that it does not declare
class MvcnConfig(PreTrainedConfig):
    """Sizes and switches of the network; see `mvcn.config.ModelConfig` for where they come from."""

    model_type = "mvcn"
    sub_configs_defaults = {  # noqa: RUF012 (a class variable of the base class)
        "text_config": SubConfigSpec(config_class=AutoConfig, model_type="bert"),
        "image_config": SubConfigSpec(config_class=AutoConfig, model_type="vit"),
    }
    keys_to_ignore_at_inference = [  # noqa: RUF012
        "fused_feature",
        "fused_logits",
        "pair_logits",
        "fusion_attentions",
        "views",
        "penalty",
    ]

    network: str = "mvcn"
    options: dict[str, Any] | None = None
    """All options of the network with their values."""
    text_config: PreTrainedConfig | dict[str, Any] | None = None
    image_config: PreTrainedConfig | dict[str, Any] | None = None
    hidden_size: int = 384
    feedforward_size: int = 768
    num_heads: int = 6
    num_fusion_layers: int = 1
    fusion: FusionKind = "text-guided"
    attention: AttentionKind = "sparsemax"
    dropout: float = 0.1
    frozen_text_layers: int = 0
    freeze_text_embeddings: bool = False
    freeze_image_encoder: bool = True
    annotation_head: bool = False
    modality_dropout: float = 0.0
    temperature: float = 1.0
    """What logits are divided by for probabilities; fitted on dev posts at the end of training."""
    image_words: dict[str, Any] | None = None
    """Sizes of `ImageWords`, for a network that reads words for what is in an image."""
