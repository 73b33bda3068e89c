"""What a model does with posts: attention, fused features, probabilities."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mvcn.data.usable_posts import by_id, usable_posts
from mvcn.inputs.batches import LABEL_FIELDS, Collator, EncodedPosts
from mvcn.inputs.images import ImageInputs, image_inputs
from mvcn.inputs.processor import MvcnProcessor
from mvcn.models.classification import MvcnForClassification
from mvcn.models.network import MvcnOutput, probabilities
from mvcn.types import BadImagePolicy, Post

BATCH_SIZE = 50


@dataclass(frozen=True, slots=True)
class Observation:
    """What a model did with one post."""

    weights: Float[Tensor, "head token patch"] | None
    """Text-to-image attention of the last text-guided unit, padding removed; None without one."""
    token_weights: Float[Tensor, " token"] | None
    """Share of each text token in the fused feature; None from networks that do not tell."""
    feature: Float[Tensor, " dim"]
    """z of the paper."""
    probabilities: Float[np.ndarray, " classes"]
    """Calibrated."""


class PreparedPosts:
    """Posts as inputs of a model in evaluation mode.

    Args:
        model: Any classifier.
        processor: The model's own.
        posts: Labels are not read. One in which the model finds nothing to read is left out.
        on_bad_image: What to do with an image that cannot be read.
        images: What reads the images; by default, features of frozen encoders are cached on disk.
        describe: What finds words for the images of posts that can be read.

    Raises:
        BadImageError: An image cannot be read and the policy is ``error``.
    """

    def __init__(
        self,
        model: MvcnForClassification,
        processor: MvcnProcessor,
        posts: Sequence[Post],
        on_bad_image: BadImagePolicy = "error",
        images: ImageInputs | None = None,
        describe: Callable[[Sequence[Post]], list[Post]] = list,
    ) -> None:
        model.eval()
        images = image_inputs(model, processor) if images is None else images
        usable = usable_posts(posts, images.prepare(posts), on_bad_image, model.reads)
        self.bad_images = by_id(posts, usable.bad_images)
        """Post id -> what is wrong with its image."""
        self.left_out = by_id(posts, usable.left_out)
        """Post id -> why there is nothing to read in it."""
        self.posts = describe(list(usable.posts))
        """Those to go on with."""
        self._rows = EncodedPosts(self.posts, processor)
        self._collate = Collator(processor, images)

    def inputs(self, positions: Sequence[int]) -> dict[str, Tensor]:
        """Return the model's inputs of some posts."""
        batch = self._collate([self._rows[position] for position in positions])
        return {name: value for name, value in batch.items() if name not in LABEL_FIELDS}

    def batches(self) -> Iterator[dict[str, Tensor]]:
        """Yield the model's inputs of all posts, in order."""
        for start in range(0, len(self.posts), BATCH_SIZE):
            yield self.inputs(range(start, min(start + BATCH_SIZE, len(self.posts))))


def observe(model: MvcnForClassification, posts: PreparedPosts) -> Iterator[Observation]:
    """Yield what a model does with each post, in order."""
    for inputs in posts.batches():
        with torch.inference_mode():
            output = model(**inputs, output_attentions=True)
        rows = probabilities(output.logits, model.config.temperature).numpy()
        for position, is_real in enumerate(inputs["attention_mask"].bool()):
            yield _observation(output, position, is_real, rows[position])


def mean_attention(
    weights: Float[Tensor, "head token patch"], text_mask: Bool[Tensor, " token"] | None = None
) -> Float[Tensor, " patch"]:
    """Return the weight of each image token, averaged over heads and real text tokens."""
    real = weights if text_mask is None else weights[:, text_mask]
    return real.double().mean((0, 1))


def _observation(
    output: MvcnOutput,
    position: int,
    is_real: Bool[Tensor, " token"],
    row: Float[np.ndarray, " classes"],
) -> Observation:
    attentions, shares = output.fusion_attentions, output.token_weights
    assert output.fused_feature is not None  # every network returns it
    return Observation(
        None if attentions is None else attentions[-1][position][:, is_real],
        None if shares is None else shares[position, is_real],
        output.fused_feature[position].clone(),
        row,
    )
