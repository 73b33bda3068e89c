"""What the encoders say of posts before anything is learned from the posts: mean tokens."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from mvcn.encoders.tokens import upper_text_tokens
from mvcn.inputs.batches import EncodedPosts
from mvcn.models.classification import MvcnForClassification
from mvcn.nn.pooling import masked_mean

BATCH_SIZE = 64
TEXT_LAYERS = 4
"""Lower layers than the last tell more of a tone: it was trained to tell topics apart."""


@torch.no_grad()
def pooled_features(
    model: MvcnForClassification,
    posts: EncodedPosts,
    positions: Sequence[int],
) -> Float[np.ndarray, "posts dim"]:
    """Return each post's mean text token, of several layers, beside its mean image token.

    What a post lacks is zeros.

    Args:
        model: Its encoders are used as they are, without dropout.
        posts: Where the posts are; those with texts of like length share a batch.
        positions: Whose features are wanted, in this order.
    """
    was_training = model.training
    model.eval()
    # The longest first: what they took in memory has room for all others.
    order = sorted(range(len(positions)), key=lambda i: -posts.lengths[positions[i]])
    features = np.zeros((0, 0), dtype=np.float32)
    with tqdm(total=len(order), desc="Encoder features", unit="post") as progress:
        for start in range(0, len(order), BATCH_SIZE):
            chosen = order[start : start + BATCH_SIZE]
            found = _pool(model, posts.collate([posts[positions[i]] for i in chosen])).cpu().numpy()
            if not start:
                features = np.zeros((len(positions), found.shape[1]), dtype=np.float32)
            features[chosen] = found
            progress.update(len(chosen))
    model.train(was_training)
    return features


def _pool(
    model: MvcnForClassification, batch: dict[str, Tensor]
) -> Float[Tensor, "batch text_and_image"]:
    assert model.text_encoder is not None  # only systems that read both have a teacher
    batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
    mask = batch["attention_mask"]
    text = upper_text_tokens(model.text_encoder, batch["input_ids"], mask, TEXT_LAYERS)
    image = model.encode_images(batch.get("pixel_values"), batch.get("image_features"))
    has_image = batch["image_mask"].unsqueeze(1).expand(-1, image.shape[1])
    has_text = mask.bool() & batch["text_mask"].unsqueeze(1)
    return torch.cat([masked_mean(text, has_text), masked_mean(image, has_image)], dim=1)
