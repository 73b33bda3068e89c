"""The systems that can be trained, by name: MVCN, and those it is compared with."""

import difflib
import functools
import inspect
import typing
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from mvcn.errors import ConfigError
from mvcn.types import EARLIER_NETWORKS

if TYPE_CHECKING:
    from mvcn.models.configuration import MvcnConfig
    from mvcn.models.network import Network
    from mvcn.runtime.graphs import ModelConfig
    from mvcn.settings import Settings


@dataclass(frozen=True, slots=True)
class System:
    """Description of a system, which imports nothing."""

    location: str
    """Module within `mvcn.models` and class of its network, imported when it is first used."""
    reads: tuple[str, ...]
    """Its inputs: ``text``, ``image`` (tokens), and what is found in the image: ``objects`` as
    probabilities, ``attributes`` as words, ``pairs`` of a sentiment and such a word."""
    source: str
    """Its publication, or that it is ours."""
    published: str | None = None
    """Its name in `published.yaml`, if it has published results."""
    objective_weights: tuple[str, ...] = ()
    """Settings of the objective that weigh what its network alone computes."""
    is_linear: bool = False
    """Whether its network is a `LinearNetwork`, which is fitted and not trained step by step."""

    @property
    def network(self) -> "type[Network]":
        """The class; `MvcnConfig` gives its required arguments, the others are its options."""
        network: type[Network] = resolve_name(f"mvcn.models.{self.location}")
        return network

    @property
    def reads_image(self) -> bool:
        """Whether it reads the image, or at least what is found in it."""
        return set(self.reads) != {"text"}

    def ignored(self, config: "MvcnConfig | ModelConfig") -> tuple[str, ...]:
        """Return which of text and image a trained model ignores: no training post had one."""
        if config.learned_inputs is None or not (self.reads_image and "text" in self.reads):
            return ()
        return tuple(name for name in ("text", "image") if name not in config.learned_inputs)

    def learned(self, config: "MvcnConfig | ModelConfig") -> tuple[str, ...]:
        """Return the inputs of a trained model, without those that it ignores."""
        ignored = self.ignored(config)
        if "image" in ignored:
            return ("text",)
        return tuple(name for name in self.reads if name not in ignored)

    def freezes_image_encoder(self, config: "MvcnConfig") -> bool:
        """Return whether the image encoder is not trained."""
        return config.freeze_image_encoder or "image" not in self.reads

    def own_fields(self, config: "MvcnConfig") -> tuple[str, ...]:
        """Return the fields of `Tokens` that differ between members: what trained encoders make."""
        of_text = () if config.text_encoder_is_frozen else ("text", "object_names")
        of_image = () if self.freezes_image_encoder(config) else ("image", "objects")
        own = (*of_text, *of_image)
        return (*own, "attributes") if own else ()

    @property
    def options(self) -> "type[Settings]":
        """Settings of this network alone, with their defaults."""
        return _options_of(self.location)


@functools.cache
def _options_of(location: str) -> "type[Settings]":
    from pydantic import create_model

    from mvcn.settings import Settings

    network = resolve_name(f"mvcn.models.{location}")
    hints = typing.get_type_hints(network.__init__, include_extras=True)
    fields: dict[str, Any] = {
        one.name: (hints[one.name], one.default)
        for one in inspect.signature(network).parameters.values()
        if one.default is not one.empty
    }
    return create_model("Options", __base__=Settings, **fields)


TEXT, IMAGE, BOTH = ("text",), ("image",), ("text", "image")
UNIMODAL_LABELS = ("unimodal_label_weight",)
CONTRAST = ("label_contrast_weight", "data_contrast_weight")
PENALTY = ("penalty_weight",)
CAI = "Cai et al., ACL 2019"
MODELS: dict[str, System] = {
    "text-cnn": System("baselines:TextCnn", TEXT, "Kim, EMNLP 2014", "CNN"),
    "bilstm": System("baselines:BiLstm", TEXT, "Zhou et al., ACL 2016", "Bi-LSTM"),
    "bert": System("baselines:TextSummary", TEXT, "Devlin et al., NAACL 2019", "BERT"),
    "resnet": System("baselines:MeanImageToken", IMAGE, "He et al., CVPR 2016", "ResNet-50"),
    "vit": System("baselines:VisionTransformer", IMAGE, "Dosovitskiy et al., ICLR 2021", "ViT"),
    "multisentinet": System(
        "xu:MultiSentiNet",
        ("text", "objects", "attributes"),
        "Xu and Mao, CIKM 2017",
        "MultiSentiNet",
    ),
    "hsan": System("xu:HierarchicalAttention", ("text", "attributes"), "Xu, ISI 2017", "HSAN"),
    "co-mn-hop6": System("xu:CoMemoryNetwork", BOTH, "Xu et al., SIGIR 2018", "Co-MN-Hop6"),
    "mgnns": System("mgnns:Mgnns", (*BOTH, "objects"), "Yang et al., ACL 2021", "MGNNS"),
    "clmlf": System("clmlf:Clmlf", BOTH, "Li et al., Findings of NAACL 2022", "CLMLF", CONTRAST),
    "concat2": System("mmsd:TextImageConcatenation", BOTH, f"{CAI}, ablation", "Concat(2)"),
    "concat3": System("mmsd:Concatenation", (*BOTH, "attributes"), f"{CAI}, ablation", "Concat(3)"),
    "mmsd": System("mmsd:HierarchicalFusion", (*BOTH, "attributes"), CAI, "MMSD", PENALTY),
    "dr-net": System(
        "xu:DecompositionAndRelation",
        (*BOTH, "pairs"),
        "Xu et al., ACL 2020",
        "D&R Net",
        PENALTY,
    ),
    "logreg": System("baselines:LogisticRegression", BOTH, "a baseline, ours", is_linear=True),
    "late-fusion": System("baselines:LateFusion", BOTH, "a baseline, ours", is_linear=True),
    "mvcn": System("mvcn:MultiViewNetwork", BOTH, "Wei et al., ACL 2023", "MVCN", UNIMODAL_LABELS),
}
"""Name -> system; each has a recipe of the same name."""


def system(name: str) -> System:
    """Return a system by its name, or by the name of an earlier system that is now a recipe.

    Raises:
        ConfigError: There is no such system.
    """
    if name in EARLIER_NETWORKS:
        return system(EARLIER_NETWORKS[name]["network"])
    if name not in MODELS:
        close = difflib.get_close_matches(name, MODELS, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"choose from {', '.join(MODELS)}."
        raise ConfigError(f"There is no model '{name}': {hint}")
    return MODELS[name]
