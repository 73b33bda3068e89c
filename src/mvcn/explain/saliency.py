"""Saliency of image tokens and words for a prediction, and its faithfulness."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from mvcn.data.synthetic import Box
from mvcn.errors import ConfigError
from mvcn.explain.observation import mean_attention, text_guided
from mvcn.inputs.batches import EncodedPosts
from mvcn.models.classification import MvcnForClassification
from mvcn.models.network import Tokens, probabilities
from mvcn.types import SaliencyMethod

METHODS: tuple[SaliencyMethod, ...] = get_args(SaliencyMethod)

VARIANTS_AT_ONCE = 64
OF_ONE_TEXT = ("input_ids", "attention_mask", "text_mask", "text_states")
"""Inputs that depend on the text."""

NUM_STEPS = 10
RANDOM_ORDERS = 5
RANDOM_SEED = 0
BOOTSTRAP_RESAMPLES = 1000
TAILS_PERCENT = (2.5, 97.5)
CONTROL = "random"
HALF = 0.5


def methods_for(model: MvcnForClassification) -> tuple[SaliencyMethod, ...]:
    """Return the methods that a model supports.

    ``attention`` needs text-guided units, ``gradient`` a network that reads image tokens and not
    only attributes of the image.
    """
    is_guided = bool(text_guided(model))
    allowed = {"attention": is_guided, "gradient": "image" in model.reads, "occlusion": True}
    return tuple(method for method in METHODS if allowed[method])


def image_saliency(
    model: MvcnForClassification, inputs: dict[str, Tensor], method: SaliencyMethod
) -> Float[Tensor, " patch"]:
    """Return how much each image token of one post supports the predicted class.

    - ``attention``: weight of the token in the last text-guided unit, averaged over heads, and
      over text tokens by their share in the fused feature. It has no sign: a token with a large
      weight may support or contradict the class.
    - ``gradient``: gradient of the class's log-probability times the token, summed over the
      feature dimension.
    - ``occlusion``: decrease of the log-probability when only this token is left out.

    Args:
        model: In evaluation mode.
        inputs: A batch of one post.
        method: One of the three.

    Raises:
        ConfigError: The model does not support the method; see `methods_for`.

    Source:
        Gradient: Shrikumar et al., 2016 (arXiv:1605.01713); occlusion: Zeiler and Fergus, ECCV
        2014. Deviation: tokens of the image encoder are left out, not squares of pixels.
    """
    if method not in methods_for(model):
        raise ConfigError(
            f"This model cannot be explained by {method}: use --method "
            f"{' or '.join(methods_for(model))}."
        )
    if method == "occlusion":
        return _occlusion(model, inputs)
    with torch.no_grad():
        tokens = model.encode(**inputs)
    return _attention(model, tokens) if method == "attention" else _gradient(model, tokens)


def word_saliency(
    model: MvcnForClassification, inputs: dict[str, Tensor], words: Sequence[Sequence[int]]
) -> Float[Tensor, " word"]:
    """Return the decrease of the log-probability of the predicted class without each word.

    The word's pieces are removed and later ones shifted, so that there is no gap, which would
    affect an LSTM, a convolution or position embeddings. A text without its only word counts as
    missing.

    Args:
        model: In evaluation mode.
        inputs: A batch of one post; padding on either side is ignored.
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
    """Return the probabilities of one post with different image tokens left out.

    Args:
        model: In evaluation mode.
        inputs: A batch of one post.
        masks: True for a token that is kept.
    """
    rows, given, config = [], inputs.get("attribute_ids"), model.config
    with torch.inference_mode():
        tokens = model.encode(**inputs)
        for some in masks.split(VARIANTS_AT_ONCE):  # type: ignore[no-untyped-call]
            words = None if given is None else given.expand(len(some), *given.shape[1:])
            kept = model.keep_image_tokens(_repeated(tokens, len(some)), some, words)
            logits = model.network(kept).logits
            rows.append(probabilities(logits, config.temperature, config.logit_offsets))
    return torch.cat(rows)


def num_image_tokens(model: MvcnForClassification, inputs: dict[str, Tensor]) -> int:
    """Return the number of tokens per image."""
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
    """Return the inputs of one post, repeated with each of the texts."""
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


@dataclass(frozen=True, slots=True)
class Curve:
    """Mean probability of the predicted class as image tokens are removed or inserted."""

    deletion: Float[np.ndarray, " step"]
    """With the most salient 0, 10, ... 100 % of the image tokens left out."""
    insertion: Float[np.ndarray, " step"]
    """With only those image tokens."""
    gap: float
    """Mean over posts of (insertion - deletion), each averaged over its curve. Higher is more
    faithful; a random explanation has 0 in expectation."""
    interval: tuple[float, float]
    """95 % of the gap, over posts."""


def faithfulness(
    model: MvcnForClassification, posts: EncodedPosts, methods: Sequence[SaliencyMethod] = METHODS
) -> dict[str, Curve]:
    """Return the curves of each method, and of random orders, over posts with an image.

    Args:
        model: In evaluation mode.
        posts: Posts; those without an image are skipped.
        methods: Methods that the model supports.

    Source:
        Petsiuk et al., BMVC 2018 (RISE), causal metric. Deviation: image tokens are left out, as
        for posts without an image, instead of blurring pixels.
    """
    kept: dict[str, list[Float[np.ndarray, "curve step"]]] = {}
    chosen = [i for i, post in enumerate(posts.posts) if post.image is not None]
    generator = torch.Generator().manual_seed(RANDOM_SEED)
    for position in tqdm(chosen, desc="Faithfulness", unit="post"):
        inputs = posts.inputs([position])
        saliencies = {name: [image_saliency(model, inputs, name)] for name in methods}
        draws = torch.rand(RANDOM_ORDERS, num_image_tokens(model, inputs), generator=generator)
        for name, some in [*saliencies.items(), (CONTROL, list(draws))]:
            kept.setdefault(name, []).append(_curves(model, inputs, some))
    return {name: _summary(np.stack(curves)) for name, curves in kept.items()}


def deletion_masks(order: Tensor) -> Bool[Tensor, "step patch"]:
    """Return masks of the image tokens left after 0, 10, ... 100 % are removed in this order."""
    rank = order.argsort()
    gone = torch.linspace(0, len(order), NUM_STEPS + 1).round()
    return rank >= gone.unsqueeze(1)


def _curves(
    model: MvcnForClassification, inputs: dict[str, Tensor], saliencies: Sequence[Tensor]
) -> Float[np.ndarray, "curve step"]:
    """Return the deletion and insertion curves of one post, averaged over its saliencies."""
    orders = [saliency.argsort(descending=True) for saliency in saliencies]
    masks = torch.cat([deletion_masks(order) for order in orders])
    rows = class_probabilities(model, inputs, torch.cat([masks, ~masks]))
    of_predicted = rows[:, int(rows[0].argmax())]
    return of_predicted.view(2, len(orders), NUM_STEPS + 1).mean(1).numpy()


def most_faithful(curves: Mapping[str, Curve]) -> str:
    """Return the method with the largest gap."""
    return max((name for name in curves if name != CONTROL), key=lambda name: curves[name].gap)


def _summary(curves: Float[np.ndarray, "post curve step"]) -> Curve:
    gaps = (curves[:, 1] - curves[:, 0]).mean(1)
    drawn = np.random.default_rng(RANDOM_SEED).integers(
        len(gaps), size=(BOOTSTRAP_RESAMPLES, len(gaps))
    )
    low, high = np.percentile(gaps[drawn].mean(1), TAILS_PERCENT)
    deletion, insertion = curves.mean(0)
    return Curve(deletion, insertion, float(gaps.mean()), (float(low), float(high)))


@dataclass(frozen=True, slots=True)
class AttentionOnRegion:
    """Attention of the text of one post to a region of its image."""

    mass: float
    """Share of the attention weights that falls on the region, mean over heads and text tokens."""
    is_hit: bool
    """Whether at least half of the image token with the largest mean weight is in the region."""
    zeros: float
    """Share of the weights that are exactly 0."""


def cover_shares(box_px: Box, image_px: int, num_tokens: int) -> Float[Tensor, " patch"]:
    """Return the share of each image token's cell that a box covers.

    The tokens are a square grid of cells, row by row; tokens before it (a ViT's class token) have
    no cell and get 0.

    Args:
        box_px: Left, top, right, bottom.
        image_px: Side of the square image.
        num_tokens: Image tokens of the model.
    """
    side = math.isqrt(num_tokens)
    left, top, right, bottom = (edge * side / image_px for edge in box_px)
    columns, rows = _overlap(left, right, side), _overlap(top, bottom, side)
    cells = torch.outer(rows, columns).flatten()
    return torch.cat([cells.new_zeros(num_tokens - side * side), cells])


def _overlap(start: float, end: float, cells: int) -> Float[Tensor, " cells"]:
    """Return how much of each unit cell 0..1, 1..2, ... lies between `start` and `end`."""
    lower = torch.arange(cells, dtype=torch.float64)
    return ((lower + 1).clamp(max=end) - lower.clamp(min=start)).clamp(min=0)


def measure_attention(
    weights: Float[Tensor, "head token patch"], region: Float[Tensor, " patch"]
) -> AttentionOnRegion:
    """Return the attention of one post's text to a region of its image.

    Args:
        weights: Text-to-image attention weights, without those of padding.
        region: Share of each image token's cell that the region covers; see `cover_shares`.
    """
    mean = mean_attention(weights)
    return AttentionOnRegion(
        mass=float(mean @ region.double()),
        is_hit=is_hit(mean, region),
        zeros=float((weights == 0).double().mean()),
    )


def is_hit(saliency: Float[Tensor, " patch"], region: Float[Tensor, " patch"]) -> bool:
    """Return whether at least half of the most salient image token is in the region."""
    return bool(region[saliency.argmax()] >= HALF)


def hit_rates(
    model: MvcnForClassification, posts: EncodedPosts, regions: Mapping[int, Tensor]
) -> dict[SaliencyMethod, float]:
    """Return, by method, the share of posts whose most salient image token is in the region.

    Methods that the model does not support are left out; without regions, the result is empty.

    Args:
        model: In evaluation mode.
        posts: The posts.
        regions: Position of a post -> share of each image token's cell that the region covers.

    Source:
        The pointing game of Zhang et al., ECCV 2016. Deviation: no margin around the region.
    """
    hits: dict[SaliencyMethod, list[bool]] = {method: [] for method in methods_for(model)}
    for position, region in tqdm(regions.items(), desc="Pointing", unit="post"):
        inputs = posts.inputs([position])
        for method, found in hits.items():
            found.append(is_hit(image_saliency(model, inputs, method), region))
    return {method: statistics.fmean(found) for method, found in hits.items() if found}
