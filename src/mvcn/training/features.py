"""Features of posts for linear models: mean tokens of the encoders, as these are at the time."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from mvcn.encoders.tokens import text_tokens
from mvcn.inputs.batches import EncodedPosts
from mvcn.models.classification import MvcnForClassification
from mvcn.nn.pooling import masked_mean

BATCH_SIZE = 64
TEXT_LAYERS = 4
"""Uppermost layers used: those below the last say more about tone than the last, which was trained
to separate topics."""


@dataclass(frozen=True, slots=True)
class PooledFeatures:
    """Mean tokens of posts; zeros for what a post misses, width 0 for what no encoder reads."""

    text: Float[np.ndarray, "posts text_dim"]
    image: Float[np.ndarray, "posts image_dim"]

    @property
    def both(self) -> Float[np.ndarray, "posts text_and_image_dim"]:
        """Features of text and image next to each other."""
        return np.concatenate([self.text, self.image], axis=1)


@torch.no_grad()
def pooled_features(
    model: MvcnForClassification,
    posts: EncodedPosts,
    positions: Sequence[int],
    text_layers: int = TEXT_LAYERS,
) -> PooledFeatures:
    """Return each post's mean text token, of several layers, and its mean image token.

    Args:
        model: Its encoders are used without dropout.
        posts: Encoded posts.
        positions: Positions of the posts to pool, in the order of the result.
        text_layers: Uppermost layers of the text encoder to read, or all if there are fewer.
    """
    was_training = model.training
    model.eval()
    # Longest first: the memory allocated for them fits all others.
    order = sorted(range(len(positions)), key=lambda i: -posts.lengths[positions[i]])
    text = image = np.zeros((len(positions), 0), dtype=np.float32)
    with tqdm(total=len(order), desc="Encoder features", unit="post") as progress:
        for start in range(0, len(order), BATCH_SIZE):
            chosen = order[start : start + BATCH_SIZE]
            batch = posts.collate([posts[positions[i]] for i in chosen])
            batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
            words, patches = _pool_text(model, batch, text_layers), _pool_image(model, batch)
            if not start:
                text, image = (
                    np.zeros((len(positions), one.shape[1]), np.float32) for one in (words, patches)
                )
            text[chosen], image[chosen] = words.cpu().numpy(), patches.cpu().numpy()
            progress.update(len(chosen))
    model.train(was_training)
    return PooledFeatures(text, image)


def _pool_text(
    model: MvcnForClassification, batch: dict[str, Tensor], layers: int
) -> Float[Tensor, "batch text_dim"]:
    mask, config = batch["attention_mask"], model.config
    if model.text_encoder is None:
        return torch.zeros(len(mask), 0)
    if config.text_encoder_is_frozen and config.lower_text_layers == layers - 1:
        tokens = model.encode_texts(batch["input_ids"], mask, batch.get("text_states"))
    else:
        tokens = text_tokens(model.text_encoder, batch["input_ids"], mask, layers - 1)
    return masked_mean(tokens, mask.bool() & batch["text_mask"].unsqueeze(1))


def _pool_image(
    model: MvcnForClassification, batch: dict[str, Tensor]
) -> Float[Tensor, "batch image_dim"]:
    if model.image_encoder is None:
        return torch.zeros(len(batch["input_ids"]), 0)
    tokens = model.encode_images(batch.get("pixel_values"), batch.get("image_features"))
    return masked_mean(tokens, batch["image_mask"].unsqueeze(1).expand(-1, tokens.shape[1]))
