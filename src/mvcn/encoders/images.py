"""Run an image encoder: from pixels to token features."""

import math
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from mvcn.encoders.families import ImageInput, image_family
from mvcn.encoders.tokens import token_width
from mvcn.errors import ConfigError

# Feature maps of four images of 224 pixels fit into the cache of the CPU: without gradients, larger
# batches were measured to be slower.
FROZEN_MICRO_BATCH = 4

USUAL_IMAGE_SIZE = 224


def image_tokens(
    encoder: PreTrainedModel, pixel_values: Float[Tensor, "batch channel height width"]
) -> Float[Tensor, "batch patch dim"]:
    """Return the image's token features; a feature map is read row by row.

    Raises:
        ConfigError: The last hidden state is not one tensor.
    """
    family = image_family(encoder.config)
    kind = "pixels" if family is None else family.image_input
    inputs = IMAGE_INPUTS[kind](pixel_values.to(encoder.dtype), encoder.config)
    output: Tensor | list[Tensor] = encoder(**inputs).last_hidden_state
    if not isinstance(output, Tensor):
        name = getattr(encoder.config, "architecture", encoder.config.model_type)
        raise ConfigError(
            f"Image encoder '{name}' has {len(output)} last hidden states instead of one: choose "
            "another with --set model.image_encoder=NAME."
        )
    if output.ndim != pixel_values.ndim:
        return output
    return output.flatten(1, 2) if _is_channels_last(encoder) else output.flatten(2).mT


def _is_channels_last(encoder: PreTrainedModel) -> bool:
    """Return whether channels are the last axis of feature maps, as timm's models state."""
    return getattr(getattr(encoder, "timm_model", None), "output_fmt", "") == "NHWC"


def _pixels(pixels: Tensor, config: PreTrainedConfig) -> dict[str, Tensor]:
    return {"pixel_values": pixels}


def _pixels_in_order(pixels: Tensor, config: PreTrainedConfig) -> dict[str, Tensor]:
    """Return pixels, and rising noise, by which a masked autoencoder shuffles its patches."""
    patches = (pixels.shape[2] // config.patch_size) * (pixels.shape[3] // config.patch_size)
    noise = torch.arange(patches, device=pixels.device, dtype=pixels.dtype)
    return {"pixel_values": pixels, "noise": noise.expand(pixels.shape[0], -1)}


def _patches(pixels: Tensor, config: PreTrainedConfig) -> dict[str, Tensor]:
    """Return the patches of images of one size, for an encoder that takes images of any shape.

    Source:
        Tschannen et al., 2025, "SigLIP 2", section 2.4 (NaFlex), for squares: a patch is a row of
        its pixels, each with its channels.
    """
    size = config.patch_size
    batch, channels, height, width = pixels.shape
    rows, columns = height // size, width // size
    cut = pixels.reshape(batch, channels, rows, size, columns, size).permute(0, 2, 4, 3, 5, 1)
    patches = cut.reshape(batch, rows * columns, size * size * channels)
    shapes = torch.tensor([rows, columns], device=pixels.device)
    return {
        "pixel_values": patches,
        "pixel_attention_mask": patches.new_ones(patches.shape[:2], dtype=torch.long),
        "spatial_shapes": shapes.expand(batch, 2),
    }


IMAGE_INPUTS: Mapping[ImageInput, Callable[[Tensor, PreTrainedConfig], dict[str, Tensor]]] = {
    "pixels": _pixels,
    "pixels in order": _pixels_in_order,
    "patches": _patches,
}
"""`Family.image_input` -> the arguments of an encoder."""


def some_image(config: PreTrainedConfig) -> Float[Tensor, "1 channel height width"]:
    """Return random pixels of a size that an image encoder reads, the same in each call."""
    size = image_size(config)
    shape = (1, getattr(config, "num_channels", 3), *size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def image_size(config: PreTrainedConfig) -> tuple[int, int]:
    """Return height and width of the images that an encoder was trained on, in pixels."""
    family = image_family(config)
    if family is not None and family.image_input == "patches":
        side = math.isqrt(config.num_patches) * config.patch_size
        return side, side
    published = getattr(config, "pretrained_cfg", None) or {}  # of timm
    if "input_size" in published:
        _, height, width = published["input_size"]
        return height, width
    size = getattr(config, "image_size", None) or USUAL_IMAGE_SIZE
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


@torch.no_grad()
def frozen_image_tokens(
    encoder: PreTrainedModel, pixel_values: Float[Tensor, "batch channel height width"]
) -> Float[Tensor, "batch patch dim"]:
    """Return the features of a frozen encoder, rounded to half precision.

    They are rounded with and without a cache, so that both give the same scores.
    """
    if torch.compiler.is_exporting():  # an exported graph takes any number of images
        return image_tokens(encoder, pixel_values).half().float()
    chunks = torch.split(pixel_values, FROZEN_MICRO_BATCH)
    return torch.cat([image_tokens(encoder, chunk).half().float() for chunk in chunks])


def tokens_of_shown(
    encode: Callable[[Tensor], Tensor],
    pixel_values: Float[Tensor, "batch channel height width"],
    shown: Bool[Tensor, " batch"],
) -> Float[Tensor, "batch patch dim"]:
    """Return image tokens, and zeros for missing images, of which none but the first is encoded.

    Args:
        encode: From pixels to tokens.
        pixel_values: Images; anything for missing ones.
        shown: False for a missing image.
    """
    some = shown.nonzero().flatten()
    if not len(some):  # one says how many tokens there are, and all trained weights take part
        some = some.new_zeros(1)
    tokens = encode(pixel_values[some])
    return tokens.new_zeros(len(shown), *tokens.shape[1:]).index_copy(0, some, tokens)


def state_width(encoder: PreTrainedModel) -> None:
    """Write the width of an image encoder's tokens into its configuration, which may not state it.

    Some state another one: it is found by trying.
    """
    with torch.no_grad():
        width = image_tokens(encoder, some_image(encoder.config)).shape[-1]
    try:
        is_stated = token_width(encoder.config) == width
    except ConfigError:
        is_stated = False
    if not is_stated:
        encoder.config.hidden_size = width


def state_unused(encoder: PreTrainedModel) -> None:
    """Write the weights that an image encoder's tokens do not depend on into its configuration.

    They are found by trying, where the family does not name them.
    """
    family = image_family(encoder.config)
    if family is None or family.unused is not None:
        return
    names, weights = zip(*encoder.named_parameters(), strict=True)
    with torch.enable_grad():
        total = image_tokens(encoder, some_image(encoder.config)).sum()
        gradients = torch.autograd.grad(total, weights, allow_unused=True)
    encoder.config.unused_weights = [
        name for name, gradient in zip(names, gradients, strict=True) if gradient is None
    ]
