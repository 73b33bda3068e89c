"""The configuration of a classifier, which Hugging Face saves next to its weights."""

from typing import Any, no_type_check

from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from mvcn.encoders.families import text_family
from mvcn.encoders.tokens import token_width
from mvcn.model_config import NetworkConfig
from mvcn.types import EARLIER_NETWORKS, MODEL_TYPE, Summary

EARLIER_NAMES = {"annotation_head": "unimodal_label_head", "image_words": "image_attributes"}


@no_type_check  # Hugging Face generates a constructor that takes more keywords
class MvcnConfig(PreTrainedConfig):
    """Configurations of the encoders, classes, and the settings of `NetworkConfig`."""

    model_type = MODEL_TYPE
    sub_configs_defaults = {  # noqa: RUF012 (a class variable of the base class)
        "text_config": SubConfigSpec(config_class=AutoConfig, model_type="bert"),
        "image_config": SubConfigSpec(config_class=AutoConfig, model_type="vit"),
    }
    keys_to_ignore_at_inference = [  # noqa: RUF012
        "fused_feature",
        "fused_logits",
        "pair_logits",
        "fusion_attentions",
        "token_weights",
        "views",
        "penalty",
        "disagreement",
        "hidden_states",
    ]

    attribute_map = {"num_classes": "num_labels"}  # noqa: RUF012

    text_config: PreTrainedConfig | dict[str, Any] | None = None
    image_config: PreTrainedConfig | dict[str, Any] | None = None
    unimodal_label_head: bool = False
    members: int = 1
    """Networks, each with its own trained encoder layers, whose probabilities are averaged."""
    linear_inputs: list[str] | None = None
    """What an ensemble's `LinearStack` reads, of ``text`` and ``image``; None without one."""
    ngram_buckets: int = 0
    """Values of the hash of n-grams that it reads; 0 if none."""
    learned_inputs: list[str] | None = None
    """What training posts had, of ``text`` and ``image``: the model ignores what none of them had.
    None if that is not known, as of an earlier version: it ignores nothing."""
    temperature: float = 1.0
    """Divides the logits before the softmax; fitted on held-out posts at the end of training."""
    logit_offsets: list[float] | None = None
    """Added to the divided logits, so that rare classes are predicted more often."""
    plugin: dict[str, Any] | None = None
    """Where the network comes from, and what it ``reads``, if it is of a plug-in."""
    image_attributes: dict[str, Any] | None = None
    """Arguments of `ImageAttributes`, for a network that reads image attributes."""

    def __post_init__(self, **settings: Any) -> None:
        """Set the fields of `NetworkConfig`, also from their names in earlier versions."""
        for earlier, name in EARLIER_NAMES.items():
            if earlier in settings:
                setattr(self, name, settings.pop(earlier))
        if "reads_first_token" in (settings.get("image_attributes") or {}):
            settings["image_attributes"] = _of_earlier_version(settings["image_attributes"])
        settings |= EARLIER_NETWORKS.get(str(settings.get("network")), {})
        super().__post_init__(**{**dict(NetworkConfig()), **settings})

    @property
    def output_attentions(self) -> bool | None:
        """Whether to return attention weights: the network's own, whatever the encoders' kernel."""
        return self._output_attentions

    @output_attentions.setter
    def output_attentions(self, value: bool) -> None:
        """Set it, which each kernel allows."""
        self._output_attentions = value

    def validate_output_attentions(self) -> None:
        """Allow all kernels, since no attention weights of the encoders are returned."""

    @property
    def text_encoder_is_frozen(self) -> bool:
        """Whether no layer of the text encoder is trained."""
        return bool(self.frozen_text_layers == "all")

    @property
    def text_width(self) -> int:
        """Width of a text token: the features of all layers that are read."""
        return token_width(self.text_config) * (1 + int(self.lower_text_layers))

    @property
    def text_summary(self) -> Summary:
        """Which token stands for a text."""
        family = text_family(self.text_config)
        return "first" if family is None else family.summary

    @property
    def image_width(self) -> int:
        """Width of the image encoder's tokens."""
        return token_width(self.image_config)

    @property
    def num_objects(self) -> int:
        """Number of classes of the published image encoder, for a network that reads them."""
        assert self.image_attributes is not None  # it reads them
        return int(self.image_attributes["num_objects"])


def _of_earlier_version(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of `ImageAttributes` from those of earlier versions."""
    kept = dict(attributes)
    pooling = "first" if kept.pop("reads_first_token") else "mean"
    width = kept.pop("image_width")
    return kept | {"pooled_width": width, "pooling": pooling}


AutoConfig.register(MvcnConfig.model_type, MvcnConfig)
