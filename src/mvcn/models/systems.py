"""The systems that can be trained, by name: MVCN, its ablations, and what it is compared with."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass

from mvcn.errors import ConfigError
from mvcn.models import bilstm, mvcn, one_token, text_cnn, vit
from mvcn.models.configuration import MvcnConfig
from mvcn.models.network import Network


@dataclass
class NoOptions:
    """Options of a network that has none."""


@dataclass(frozen=True, slots=True)
class System:
    """What is known of a system before it is built."""

    build: Callable[[MvcnConfig], Network]
    """Builds the network, which maps `Tokens` to an `MvcnOutput`."""
    reads: tuple[str, ...]
    """What it looks at: ``text``, ``image``, and what the image encoder was trained to name:
    ``objects`` as probabilities, ``attributes`` as words, ``pairs`` of a sentiment and a word."""
    source: str
    """Where it was published, or that it is ours."""
    published: str | None = None
    """Its name in `published.yaml`, where it has published results."""
    options: type = NoOptions
    """Dataclass of what its network alone can be told."""
    has_annotation_head: bool = False
    """Whether it can learn the labels of text and image, too."""


BOTH = ("text", "image")
WEI = "Wei et al., ACL 2023"
TEXT, IMAGE = ("text",), ("image",)
MODELS: dict[str, System] = {
    "text-cnn": System(text_cnn.build, TEXT, "Kim, EMNLP 2014", "CNN"),
    "bilstm": System(bilstm.build, TEXT, "Zhou et al., ACL 2016", "Bi-LSTM", bilstm.BiLstmOptions),
    "bert": System(one_token.build_bert, TEXT, "Devlin et al., NAACL 2019", "BERT"),
    "resnet": System(one_token.build_resnet, IMAGE, "He et al., CVPR 2016", "ResNet-50"),
    "vit": System(vit.build, IMAGE, "Dosovitskiy et al., ICLR 2021", "ViT"),
    "mvcn": System(mvcn.build, BOTH, WEI, "MVCN", has_annotation_head=True),
    "tgf": System(mvcn.build, BOTH, f"{WEI}, without its losses", has_annotation_head=True),
    "mfs": System(mvcn.build_equal, BOTH, f"{WEI}, ablation", has_annotation_head=True),
}
"""Name -> system; each has a recipe of its name, too."""


def system(name: str) -> System:
    """Return a system by name.

    Raises:
        ConfigError: There is none of that name.
    """
    if name not in MODELS:
        close = difflib.get_close_matches(name, MODELS, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known are {', '.join(MODELS)}."
        raise ConfigError(f"There is no model '{name}': {hint}")
    return MODELS[name]
