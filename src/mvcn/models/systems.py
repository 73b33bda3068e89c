"""The systems that can be trained, by name: MVCN, its ablations, and what it is compared with."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass

from mvcn.errors import ConfigError
from mvcn.models import (
    bilstm,
    clmlf,
    co_mn,
    dr_net,
    hsan,
    mgnns,
    mmsd,
    multisentinet,
    mvcn,
    one_token,
    references,
    text_cnn,
    vit,
)
from mvcn.models.configuration import MvcnConfig
from mvcn.models.network import Network
from mvcn.settings import Settings


class NoOptions(Settings):
    """Options of a network that has none."""


@dataclass(frozen=True, slots=True)
class System:
    """What is known of a system before it is built."""

    build: Callable[[MvcnConfig], Network]
    """Builds the network, which maps `Tokens` to an `MvcnOutput`."""
    reads: tuple[str, ...]
    """What it looks at: ``text``, ``image`` (its tokens), and what the image encoder was trained to
    name: ``objects`` as probabilities, ``attributes`` as words, ``pairs`` of a sentiment and such
    a word."""
    source: str
    """Where it was published, or that it is ours."""
    published: str | None = None
    """Its name in `published.yaml`, where it has published results."""
    options: type[Settings] = NoOptions
    """Settings of what its network alone can be told."""
    learns_by: tuple[str, ...] = ()
    """Weights of the objective that concern what its network alone has."""

    @property
    def reads_image(self) -> bool:
        """Whether it looks at the image, if only for what the image encoder names in it."""
        return set(self.reads) != {"text"}


BOTH = ("text", "image")
ANNOTATIONS = ("annotation_weight",)
CONTRAST = ("label_contrast_weight", "data_contrast_weight")
CAI = "Cai et al., ACL 2019"
WEI = "Wei et al., ACL 2023"
TEXT, IMAGE = ("text",), ("image",)
MODELS: dict[str, System] = {
    "text-cnn": System(text_cnn.build, TEXT, "Kim, EMNLP 2014", "CNN"),
    "bilstm": System(bilstm.build, TEXT, "Zhou et al., ACL 2016", "Bi-LSTM", bilstm.BiLstmOptions),
    "bert": System(one_token.build_bert, TEXT, "Devlin et al., NAACL 2019", "BERT"),
    "resnet": System(one_token.build_resnet, IMAGE, "He et al., CVPR 2016", "ResNet-50"),
    "vit": System(vit.build, IMAGE, "Dosovitskiy et al., ICLR 2021", "ViT"),
    "multisentinet": System(
        multisentinet.build,
        ("text", "objects", "attributes"),
        "Xu and Mao, CIKM 2017",
        "MultiSentiNet",
    ),
    "hsan": System(hsan.build, ("text", "attributes"), "Xu, ISI 2017", "HSAN"),
    "co-mn-hop6": System(
        co_mn.build, BOTH, "Xu et al., SIGIR 2018", "Co-MN-Hop6", co_mn.CoMemoryOptions
    ),
    "mgnns": System(
        mgnns.build, (*BOTH, "objects"), "Yang et al., ACL 2021", "MGNNS", mgnns.MgnnsOptions
    ),
    "clmlf": System(
        clmlf.build,
        BOTH,
        "Li et al., Findings of NAACL 2022",
        "CLMLF",
        clmlf.ClmlfOptions,
        learns_by=CONTRAST,
    ),
    "concat2": System(mmsd.build_concat2, BOTH, f"{CAI}, ablation", "Concat(2)"),
    "concat3": System(mmsd.build_concat3, (*BOTH, "attributes"), f"{CAI}, ablation", "Concat(3)"),
    "mmsd": System(
        mmsd.build,
        (*BOTH, "attributes"),
        CAI,
        "MMSD",
        mmsd.MmsdOptions,
        learns_by=("penalty_weight",),
    ),
    "dr-net": System(
        dr_net.build,
        (*BOTH, "pairs"),
        "Xu et al., ACL 2020",
        "D&R Net",
        learns_by=("penalty_weight",),
    ),
    "logreg": System(references.build_logreg, BOTH, "a reference, ours"),
    "late-fusion": System(references.build_late_fusion, BOTH, "a reference, ours"),
    "mvcn": System(mvcn.build, BOTH, WEI, "MVCN", learns_by=ANNOTATIONS),
    "tgf": System(mvcn.build, BOTH, f"{WEI}, without its losses", learns_by=ANNOTATIONS),
    "mfs": System(mvcn.build_equal, BOTH, f"{WEI}, ablation", learns_by=ANNOTATIONS),
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
