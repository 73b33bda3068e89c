"""How much each part of an image, or each word, matters for a verdict: three ways to say it."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mvcn.errors import ConfigError
from mvcn.models.classification import MvcnForClassification
from mvcn.models.network import Tokens, probabilities

Method = Literal["attention", "gradient", "occlusion"]
METHODS: tuple[Method, ...] = get_args(Method)

VARIANTS_AT_ONCE = 64


def image_saliency(
    model: MvcnForClassification, inputs: dict[str, Tensor], method: Method
) -> Float[Tensor, " patch"]:
    """Return how much each image token of one post speaks for the class that is predicted.

    - ``attention``: weight of the token in the last text-guided unit, averaged over heads, and
      over text tokens by their share in the fused feature. It has no sign: what is looked at
      may speak for or against the class.
    - ``gradient``: gradient of the class's log-probability times the token, summed over its
      width.
    - ``occlusion``: by how much the log-probability falls when the token alone is left out.

    Args:
        model: In evaluation mode.
        inputs: Of a batch of one post.
        method: One of the three.

    Raises:
        ConfigError: ``attention`` of a network that has none from text to image.

    Source:
        Gradient: Shrikumar et al., 2016 (arXiv:1605.01713); occlusion: Zeiler and Fergus, ECCV
        2014. Deviation: tokens of the image encoder are left out, not squares of pixels.
    """
    with torch.no_grad():
        tokens = model.encode(**inputs)
        predicted = int(model.network(tokens).logits.argmax())
    if method == "attention":
        return _attention(model, tokens)
    if method == "gradient":
        return _gradient(model, tokens, predicted)
    return _occlusion(model, tokens, predicted)


def word_saliency(
    model: MvcnForClassification, inputs: dict[str, Tensor], words: Sequence[Sequence[int]]
) -> Float[Tensor, " word"]:
    """Return by how much the log-probability of the predicted class falls without each word.

    Args:
        model: In evaluation mode.
        inputs: Of a batch of one post.
        words: Positions of each word's pieces.
    """
    variants = [inputs["attention_mask"][0].clone() for _ in range(len(words) + 1)]
    for mask, pieces in zip(variants, words, strict=False):
        mask[list(pieces)] = 0
    with torch.inference_mode():
        several = {
            name: value.expand(len(variants), *value.shape[1:]) for name, value in inputs.items()
        }
        logits = model(**{**several, "attention_mask": torch.stack(variants)}).logits
    logs = probabilities(logits).log()
    *without, whole = logs[:, logs[-1].argmax()]
    return whole - torch.stack(without) if without else logs.new_zeros(0)


def class_probabilities(
    model: MvcnForClassification, tokens: Tokens, masks: Bool[Tensor, "variant patch"]
) -> Float[Tensor, "variant classes"]:
    """Return what the model says of one post, each time with other image tokens left out.

    Args:
        model: In evaluation mode.
        tokens: Of one post.
        masks: True for a token that stays.
    """
    rows = []
    with torch.inference_mode():
        for some in masks.split(VARIANTS_AT_ONCE):  # type: ignore[no-untyped-call]
            several = _repeated(tokens, len(some))
            kept = several._replace(image_mask=several.image_mask & some)
            rows.append(probabilities(model.network(kept).logits, model.config.temperature))
    return torch.cat(rows)


def _repeated(tokens: Tokens, times: int) -> Tokens:
    shared = {"object_names"}
    return Tokens(
        **{
            name: value if name in shared else value.expand(times, *value.shape[1:])
            for name, value in tokens._asdict().items()
        }
    )


def _attention(model: MvcnForClassification, tokens: Tokens) -> Float[Tensor, " patch"]:
    with torch.inference_mode():
        output = model.network(tokens, output_attentions=True)
    if output.fusion_attentions is None:
        raise ConfigError(
            "This model has no attention from text to image: explain it by occlusion or gradient."
        )
    by_token = output.fusion_attentions[-1][0].mean(0)
    shares: Tensor = output.token_weights[0] @ by_token
    return shares


def _gradient(
    model: MvcnForClassification, tokens: Tokens, predicted: int
) -> Float[Tensor, " patch"]:
    image = tokens.image.detach().requires_grad_()
    log = model.network(tokens._replace(image=image)).logits.log_softmax(-1)[0, predicted]
    (gradient,) = torch.autograd.grad(log, image)
    return (gradient * image).sum(-1)[0].detach()


def _occlusion(
    model: MvcnForClassification, tokens: Tokens, predicted: int
) -> Float[Tensor, " patch"]:
    count = tokens.image.shape[1]
    masks = torch.cat([~torch.eye(count, dtype=torch.bool), torch.ones(1, count, dtype=torch.bool)])
    logs = class_probabilities(model, tokens, masks)[:, predicted].log()
    return logs[-1] - logs[:-1]
