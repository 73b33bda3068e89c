"""What an image classifier was trained to name, as one linear layer on an encoder's tokens."""

import json
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AutoModelForImageClassification

from mvcn.encoders.loading import EFFICIENTNET_LITE0, load_pretrained
from mvcn.encoders.packaged import PACKAGED, packaged_folder
from mvcn.encoders.tokens import token_width
from mvcn.errors import ConfigError

STRONG_VALENCE = 2.5
"""From -4 to 4, the mean of ten people's opinions."""


@dataclass(frozen=True, slots=True)
class ObjectClassifier:
    """The last layer of a published image classifier."""

    weight: Float[Tensor, "object width"]
    bias: Float[Tensor, " object"]
    names: tuple[str, ...]
    """What each object is called."""
    reads_first_token: bool
    """Whether it reads the first token of the encoder, or the mean of all."""


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


def sentiment_words() -> list[str]:
    """Return the words of VADER's lexicon about which people feel strongly.

    Raises:
        ConfigError: The lexicon is not installed.
    """
    (file,) = PACKAGED["vader-lexicon"].sha256
    lines = (packaged_folder("vader-lexicon") / file).read_text("utf-8").splitlines()
    rows = [line.split("\t") for line in lines]
    strong = (word for word, valence, *_ in rows if abs(float(valence)) >= STRONG_VALENCE)
    return [*dict.fromkeys(word for word in strong if word.isalpha() and word.isascii())]


def _lite0_classifier() -> ObjectClassifier:
    (names_file,) = PACKAGED["imagenet-names"].sha256
    names = json.loads((packaged_folder("imagenet-names") / names_file).read_text("utf-8"))
    (file,) = PACKAGED[EFFICIENTNET_LITE0].sha256
    published = torch.load(packaged_folder(EFFICIENTNET_LITE0) / file, weights_only=True)
    return ObjectClassifier(published["_fc.weight"], published["_fc.bias"], tuple(names), False)
