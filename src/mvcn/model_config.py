"""Settings of the model: its encoders, what they read of a post, and its network.

Docstrings say of each setting whose it is; see `mvcn.config`.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from mvcn.errors import ConfigError
from mvcn.settings import Count, CountOrZero, Dropout, Settings, Values
from mvcn.types import EARLIER_NETWORKS, AttentionKind, FusionKind

AttentionImplementation = Literal["auto", "sdpa", "eager", "flash_attention_2"]

NUM_SPECIAL_TOKENS = 2
"""Tokens that text encoders add to each text; `max_tokens` includes them."""

CountOrAll = Annotated[int | None, Field(ge=0), "at least 0"]
Tokens = Annotated[
    Annotated[int, Field(gt=NUM_SPECIAL_TOKENS)] | Literal["auto"],
    "a whole number of at least 3, or auto",
]
FrozenLayers = Annotated[
    Annotated[int, Field(ge=0)] | Literal["all"], "a whole number of at least 0, or all"
]


class NetworkConfig(Settings):
    """The network: the settings that are saved with its weights."""

    network: str = "mvcn"
    """One of `mvcn models`, each of which has a recipe of its name."""
    options: Values = Field(default_factory=dict)
    """Options of this network alone; see its class in `mvcn.models`."""
    frozen_text_layers: FrozenLayers = 0
    """Lowest layers of the text encoder to freeze; above 0 freezes the embeddings too, and all the
    complete encoder. What frozen layers make of a text is computed once. Ours."""
    lower_text_layers: CountOrZero = 0
    """Layers below the last whose token features are read, too, or all if there are fewer. Ours."""
    freeze_text_embeddings: bool = False
    """Freeze the token embeddings. Ours."""
    freeze_image_encoder: bool = True
    """Freeze the image encoder; its token features are then computed once and cached. Ours."""
    hidden_size: Count = 384
    """Width d of fusion and fused feature; a multiple of `num_heads`. Not given, ours."""
    feedforward_size: Count = 768
    """Inner width of the feed-forward layers of each text-guided unit. Not given, ours."""
    num_heads: Count = 6
    """Attention heads of each text-guided unit. Not given, ours."""
    num_fusion_layers: Count = 1
    """Stacked units L of the fusion. Not given, ours."""
    fusion: FusionKind = "text-guided"
    """Text tokens attend to image tokens, or (the ablation MFS) all tokens to each other."""
    attention: AttentionKind = "sparsemax"
    """Normalisation of the text-to-image attention; softmax is the ablation."""
    dropout: Dropout = 0.1
    """Dropout of the fusion and the classifier, never on sparse attention weights.
    Not given, ours."""
    modality_dropout: Dropout = 0.0
    """Share of the training posts with text and image that lose one of them in a pass. Ours."""

    @model_validator(mode="before")
    @classmethod
    def _replace_earlier_network(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return values | EARLIER_NETWORKS.get(str(values.get("network")), {})

    @model_validator(mode="after")
    def _check_heads(self) -> "NetworkConfig":
        if self.hidden_size % self.num_heads:
            raise ConfigError(
                f"Setting 'model.hidden_size' is {self.hidden_size}, but must be a multiple "
                f"of model.num_heads, which is {self.num_heads}."
            )
        return self


class AdapterConfig(Settings):
    """Low-rank adapters (LoRA) of an encoder."""

    rank: CountOrZero = 0
    """Rank of the adapter of each linear layer, whose other weights are then not trained; 0 trains
    them instead. Ours."""
    alpha: Count = 16
    """Scale of the adapters, which are multiplied by alpha / rank. Ours."""
    dropout: Dropout = 0.0
    """Of the inputs of the adapters. Ours."""


class ModelConfig(NetworkConfig):
    """The encoders, what they read of a post, and the network."""

    earlier_names: ClassVar = {
        "mark_blanks": "mark_whitespace",
        "image_describer": "attribute_model",
    }
    shorthands: ClassVar = {"encoder": ("text_encoder", "image_encoder")}

    text_encoder: str = "minilm-l6"
    """Packaged name, folder, or Hugging Face hub name. `model.encoder` names it and the image
    encoder at once, where one checkpoint has both, as those of CLIP. Paper: bert-base-uncased."""
    image_encoder: str = "efficientnet-lite0"
    """Packaged name, folder, or Hugging Face hub name. Not given, ours."""
    text_adapter: AdapterConfig = Field(default_factory=AdapterConfig)
    """Train low-rank adapters of the text encoder in place of its weights."""
    image_adapter: AdapterConfig = Field(default_factory=AdapterConfig)
    """Train low-rank adapters of the image encoder, which must not be frozen."""
    attn_implementation: AttentionImplementation = "auto"
    """How the encoders compute attention while they are trained, as in transformers; `auto` is as
    each of them prefers."""
    attribute_model: str | None = None
    """Folder or Hugging Face hub name of an image classifier or captioner, which finds attributes
    where the dataset has none; by default the image encoder's own classes do. Ours."""
    text_layers: CountOrAll = None
    """Lowest layers of the text encoder to keep; 0 keeps the embeddings alone. By default all.
    Ours."""
    mark_whitespace: bool = False
    """Mark leading, trailing and repeated whitespace, which is else removed, or replaced by single
    spaces. Ours."""
    name_emoji: bool = True
    """Replace emoji that the tokenizer does not know by their names in words. Ours."""
    append_attributes: bool = False
    """Append the attribute words of a post to its text, where it has both. Ours."""
    stack_linear: bool = False
    """Add the logits of linear models of n-grams, mean text token and mean image token to each
    member of an ensemble, as far as that is better out of fold; a single model has none. Ours."""
    max_tokens: Tokens = 64
    """Word pieces kept of a text; 99 % of the MVSA-Single posts have no more than 67. `auto` keeps
    99 % of the training texts completely: it is 64 to 512, as far as the encoder reads. CLMLF: 200.
    Not given, ours."""

    @model_validator(mode="after")
    def _check_adapters(self) -> "ModelConfig":
        for name in ("text_adapter", "image_adapter"):
            given = getattr(self, name)
            if not given.rank and given != AdapterConfig():
                raise ConfigError(
                    f"Setting 'model.{name}.rank' is 0, so there are no adapters for the other "
                    f"settings of model.{name}: set it to 1 or more, or leave them out."
                )
        return self
