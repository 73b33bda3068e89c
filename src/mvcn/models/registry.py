"""The systems that can be trained, by name: MVCN, those it is compared with, and plug-ins."""

import functools
import inspect
import typing
from dataclasses import dataclass, replace
from functools import partial
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from mvcn.errors import ConfigError, PluginError, reason_of, which_of
from mvcn.plugins import Plugin, available, find_plugin, find_saved
from mvcn.types import EARLIER_NETWORKS

if TYPE_CHECKING:
    from mvcn.config import RunConfig
    from mvcn.models.configuration import MvcnConfig
    from mvcn.models.network import Network
    from mvcn.runtime.graphs import ModelConfig
    from mvcn.settings import Settings


PLUGGED_IN = {"objective": {"congruity_weight": 0.0}, "training": {"epochs": 3}}
"""Settings from which the model of a plug-in starts, as the compared models do by their recipes."""
FROZEN_LAYERS = 4
"""Of the text encoder, in the same way; a linear network has all frozen."""
INPUTS = ("text", "image", "objects", "attributes", "pairs")
"""What a system can read."""


@dataclass(frozen=True, slots=True)
class System:
    """Description of a system, which imports nothing."""

    location: str
    """Module and class of its network, as in ``package.module:Class``, imported when it is first
    used."""
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
    plugin: Plugin | None = None
    """What it comes from; None for those of this package."""

    @property
    def network(self) -> "type[Network]":
        """The class; `MvcnConfig` gives its required arguments, the others are its options.

        Raises:
            PluginError: The class of a plug-in cannot be imported.
        """
        if self.plugin is not None:
            return _network_of(self.location, self.plugin)
        network: type[Network] = resolve_name(self.location)
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
        network: Any = self.network
        return _options_of(network)


def _network_of(location: str, plugin: Plugin) -> "type[Network]":
    """Return the network of a plug-in."""
    network: type[Network] = replace(plugin, find=partial(resolve_name, location)).load()
    if not (isinstance(network, type) and hasattr(network, "forward")):
        raise PluginError(
            f"The model '{plugin.name}' of {plugin.origin} is at {location}, which is not a "
            "subclass of mvcn.models.network.Network: write it like package.module:Class."
        )
    return network


@functools.cache
def _options_of(network: Any) -> "type[Settings]":
    from pydantic import create_model

    from mvcn.settings import Settings

    try:
        hints = typing.get_type_hints(network.__init__, include_extras=True)
        fields: dict[str, Any] = {
            one.name: (hints.get(one.name, Any), one.default)
            for one in inspect.signature(network).parameters.values()
            if one.default is not one.empty
        }
        return create_model("Options", __base__=Settings, **fields)
    except Exception as error:  # pydantic and typing raise many kinds for what is no type to them
        raise ConfigError(
            f"The options of the network {network.__name__} cannot be read ({reason_of(error)}): "
            "annotate them with types such as int, float or str."
        ) from error


TEXT, IMAGE, BOTH = ("text",), ("image",), ("text", "image")
UNIMODAL_LABELS = ("unimodal_label_weight",)
CONTRAST = ("label_contrast_weight", "data_contrast_weight")
PENALTY = ("penalty_weight",)
CAI = "Cai et al., ACL 2019"
MODELS: dict[str, System] = {
    "text-cnn": System("mvcn.models.baselines:TextCnn", TEXT, "Kim, EMNLP 2014", "CNN"),
    "bilstm": System("mvcn.models.baselines:BiLstm", TEXT, "Zhou et al., ACL 2016", "Bi-LSTM"),
    "bert": System("mvcn.models.baselines:TextSummary", TEXT, "Devlin et al., NAACL 2019", "BERT"),
    "resnet": System(
        "mvcn.models.baselines:MeanImageToken", IMAGE, "He et al., CVPR 2016", "ResNet-50"
    ),
    "vit": System(
        "mvcn.models.baselines:VisionTransformer", IMAGE, "Dosovitskiy et al., ICLR 2021", "ViT"
    ),
    "multisentinet": System(
        "mvcn.models.xu:MultiSentiNet",
        ("text", "objects", "attributes"),
        "Xu and Mao, CIKM 2017",
        "MultiSentiNet",
    ),
    "hsan": System(
        "mvcn.models.xu:HierarchicalAttention", ("text", "attributes"), "Xu, ISI 2017", "HSAN"
    ),
    "co-mn-hop6": System(
        "mvcn.models.xu:CoMemoryNetwork", BOTH, "Xu et al., SIGIR 2018", "Co-MN-Hop6"
    ),
    "mgnns": System(
        "mvcn.models.mgnns:Mgnns", (*BOTH, "objects"), "Yang et al., ACL 2021", "MGNNS"
    ),
    "clmlf": System(
        "mvcn.models.clmlf:Clmlf", BOTH, "Li et al., Findings of NAACL 2022", "CLMLF", CONTRAST
    ),
    "concat2": System(
        "mvcn.models.mmsd:TextImageConcatenation", BOTH, f"{CAI}, ablation", "Concat(2)"
    ),
    "concat3": System(
        "mvcn.models.mmsd:Concatenation", (*BOTH, "attributes"), f"{CAI}, ablation", "Concat(3)"
    ),
    "mmsd": System(
        "mvcn.models.mmsd:HierarchicalFusion", (*BOTH, "attributes"), CAI, "MMSD", PENALTY
    ),
    "dr-net": System(
        "mvcn.models.xu:DecompositionAndRelation",
        (*BOTH, "pairs"),
        "Xu et al., ACL 2020",
        "D&R Net",
        PENALTY,
    ),
    "logreg": System(
        "mvcn.models.baselines:LogisticRegression", BOTH, "a baseline, ours", is_linear=True
    ),
    "late-fusion": System(
        "mvcn.models.baselines:LateFusion", BOTH, "a baseline, ours", is_linear=True
    ),
    "mvcn": System(
        "mvcn.models.mvcn:MultiViewNetwork", BOTH, "Wei et al., ACL 2023", "MVCN", UNIMODAL_LABELS
    ),
}
"""Name -> system; each has a recipe of the same name."""


def system(name: str) -> System:
    """Return a system by its name, by that of an earlier system that is now a recipe, or a plug-in.

    Raises:
        ConfigError: There is no such system.
        PluginError: Two have this name, or that of a plug-in cannot be imported.
    """
    plugin = find_plugin("model", name, {*MODELS, *EARLIER_NETWORKS})
    if plugin is not None:
        return plugged_in(plugin)
    name = EARLIER_NETWORKS.get(name, {"network": name})["network"]
    if name not in MODELS:
        known = [*MODELS, *(one.name for one in available("model"))]
        raise ConfigError(f"There is no model '{name}': {which_of(name, known)}")
    return MODELS[name]


def settings_of_model(name: str) -> "RunConfig":
    """Return the settings from which a model starts: its recipe, or `PLUGGED_IN` and frozen layers.

    Raises:
        ConfigError: There is no such model.
        PluginError: As by `system`.
    """
    from mvcn.config import RunConfig, read_recipe

    about = system(name)
    if about.plugin is None:
        return read_recipe(name)
    frozen = "all" if about.is_linear else FROZEN_LAYERS
    settings = {"model": {"network": name, "frozen_text_layers": frozen}, **PLUGGED_IN}
    return RunConfig.from_mapping(settings)


def plugged_in(plugin: Plugin) -> System:
    """Return the system of a plug-in, which imports the module that describes it.

    Raises:
        PluginError: It cannot be imported, or does not describe a system.
    """
    about = plugin.load()
    if not isinstance(about, System):
        raise PluginError(
            f"The model '{plugin.name}' of {plugin.origin} is not an mvcn.models.registry.System: "
            "make it one, which describes the network."
        )
    if not about.reads or not set(about.reads) <= set(INPUTS):
        raise PluginError(
            f"The model '{plugin.name}' of {plugin.origin} reads {about.reads!r}, but must read "
            f"some of {', '.join(INPUTS)}, as in reads=('text', 'image')."
        )
    return replace(about, reads=tuple(about.reads), plugin=plugin)


def system_of(config: "MvcnConfig") -> System:
    """Return the system of a model to build or load.

    Raises:
        PluginError: It is of a plug-in that is not there, or cannot be imported.
    """
    if config.plugin is not None:
        return plugged_in(find_saved("model", config.plugin))
    return MODELS[config.network] if config.network in MODELS else system(config.network)


def described_system(config: "MvcnConfig | ModelConfig") -> System:
    """Return what a built or saved model says of its system.

    A model of a plug-in says what it reads, so that its graphs need no plug-in; the network itself
    is known to `system_of` alone.
    """
    if config.plugin is None:
        return MODELS[config.network] if config.network in MODELS else system(config.network)
    return System("", tuple(config.plugin["reads"]), "")
