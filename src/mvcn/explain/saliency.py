"""How much each token of an image, or each word, matters for a prediction, by three methods."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mvcn.errors import ConfigError
from mvcn.models.classification import MvcnForClassification
from mvcn.models.network import Tokens, probabilities
from mvcn.nn.fusion import TextGuidedFusion

Method = Literal["attention", "gradient", "occlusion"]
METHODS: tuple[Method, ...] = get_args(Method)

VARIANTS_AT_ONCE = 64
OF_ONE_TEXT = ("input_ids", "attention_mask", "text_mask", "text_states")
"""Inputs that change with the text."""


def methods_for(model: MvcnForClassification) -> tuple[Method, ...]:
    """Return the methods that a model allows.

    Attention needs text-guided units, a gradient a network that reads the image's tokens and not
    only words that were found in them.
    """
    is_guided = isinstance(getattr(model.network, "fusion", None), TextGuidedFusion)
    allowed = {"attention": is_guided, "gradient": "image" in model.reads, "occlusion": True}
    return tuple(method for method in METHODS if allowed[method])


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
        ConfigError: The model does not allow the method; see `methods_for`.

    Source:
        Gradient: Shrikumar et al., 2016 (arXiv:1605.01713); occlusion: Zeiler and Fergus, ECCV
        2014. Deviation: tokens of the image encoder are left out, not squares of pixels.
    """
    if method not in methods_for(model):
        raise ConfigError(
            f"This model cannot be explained by {method}: choose {' or '.join(methods_for(model))}."
        )
    if method == "occlusion":
        return _occlusion(model, inputs)
    with torch.no_grad():
        tokens = model.encode(**inputs)
    return _attention(model, tokens) if method == "attention" else _gradient(model, tokens)


def word_saliency(
    model: MvcnForClassification, inputs: dict[str, Tensor], words: Sequence[Sequence[int]]
) -> Float[Tensor, " word"]:
    """Return by how much the log-probability of the predicted class falls without each word.

    The word's pieces are removed and those after it move up, as if the word had never been
    written: no network is given a gap, which an LSTM, a convolution or position embeddings would
    read as something. A text whose only word is removed counts as no text.

    Args:
        model: In evaluation mode.
        inputs: Of a batch of one post; padding is ignored, on whichever side it is.
        words: Positions of each word's pieces in the text without padding, as
            `MvcnProcessor.words` gives them.

    Source:
        Li et al., 2016 (arXiv:1612.08220), erasure of words; Kádár et al., Computational
        Linguistics 2017, omission score; Feng et al., EMNLP 2018, section 2.1.
    """
    text = inputs["input_ids"][0][inputs["attention_mask"][0].bool()]
    variants = [*(_without(text, pieces) for pieces in words), text]
    has_text = torch.tensor([*[len(words) > 1] * len(words), True])
    logits = []
    with torch.inference_mode():
        for start in range(0, len(variants), VARIANTS_AT_ONCE):
            some = slice(start, start + VARIANTS_AT_ONCE)
            logits.append(model(**_with_texts(inputs, variants[some], has_text[some])).logits)
    logs = probabilities(torch.cat(logits)).log()
    of_predicted = logs[:, logs[-1].argmax()]
    return of_predicted[-1] - of_predicted[:-1]


def class_probabilities(
    model: MvcnForClassification, inputs: dict[str, Tensor], masks: Bool[Tensor, "variant patch"]
) -> Float[Tensor, "variant classes"]:
    """Return the probabilities of one post, each time with other image tokens left out.

    Args:
        model: In evaluation mode.
        inputs: Of a batch of one post.
        masks: True for a token that stays.
    """
    rows, given = [], inputs.get("attribute_ids")
    with torch.inference_mode():
        tokens = model.encode(**inputs)
        for some in masks.split(VARIANTS_AT_ONCE):  # type: ignore[no-untyped-call]
            words = None if given is None else given.expand(len(some), *given.shape[1:])
            kept = model.leave_out(_repeated(tokens, len(some)), some, words)
            rows.append(probabilities(model.network(kept).logits, model.config.temperature))
    return torch.cat(rows)


def num_image_tokens(model: MvcnForClassification, inputs: dict[str, Tensor]) -> int:
    """Return into how many tokens the model cuts an image."""
    with torch.inference_mode():
        image = model.encode_images(inputs.get("pixel_values"), inputs.get("image_features"))
    return image.shape[1]


def _without(text: Int[Tensor, " token"], pieces: Sequence[int]) -> Int[Tensor, " rest"]:
    kept = torch.ones_like(text, dtype=torch.bool)
    kept[list(pieces)] = False
    return text[kept]


def _with_texts(
    inputs: dict[str, Tensor], texts: Sequence[Tensor], has_text: Bool[Tensor, " variant"]
) -> dict[str, Tensor]:
    """Return the inputs of one post, once with each of the texts."""
    rest = {
        name: value.expand(len(texts), *value.shape[1:])
        for name, value in inputs.items()
        if name not in OF_ONE_TEXT
    }
    masks = [torch.ones_like(text) for text in texts]
    return {
        **rest,
        "input_ids": pad_sequence(list(texts), batch_first=True),
        "attention_mask": pad_sequence(masks, batch_first=True),
        "text_mask": has_text & inputs.get("text_mask", torch.tensor(True)),
    }


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
    by_token = output.fusion_attentions[-1][0].mean(0)
    shares: Tensor = output.token_weights[0] @ by_token
    return shares


def _gradient(model: MvcnForClassification, tokens: Tokens) -> Float[Tensor, " patch"]:
    image = tokens.image.detach().requires_grad_()
    logs = model.network(tokens._replace(image=image)).logits.log_softmax(-1)[0]
    (gradient,) = torch.autograd.grad(logs.max(), image)
    return (gradient * image).sum(-1)[0].detach()


def _occlusion(model: MvcnForClassification, inputs: dict[str, Tensor]) -> Float[Tensor, " patch"]:
    count = num_image_tokens(model, inputs)
    masks = torch.cat([~torch.eye(count, dtype=torch.bool), torch.ones(1, count, dtype=torch.bool)])
    logs = class_probabilities(model, inputs, masks).log()
    of_predicted = logs[:, logs[-1].argmax()]
    return of_predicted[-1] - of_predicted[:-1]
