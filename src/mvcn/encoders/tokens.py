"""Run an encoder: what comes in are ids or pixels, what goes out are token features."""

from bisect import bisect_left
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from mvcn.errors import ConfigError

# Feature maps of four images of 224 pixels stay in the processor's cache: measured, larger
# batches are slower without gradients.
FROZEN_MICRO_BATCH = 4

# What configurations call the width of the last feature map, the more telling names first.
WIDTH_SETTINGS = ("hidden_size", "neck_hidden_sizes", "hidden_sizes", "hidden_dim")


def token_width(config: PreTrainedConfig) -> int:
    """Return the width of an encoder's token features.

    Raises:
        ConfigError: The encoder's configuration does not say it.
    """
    for name in WIDTH_SETTINGS:
        if width := getattr(config, name, None):
            return int(width if isinstance(width, int) else width[-1])
    raise ConfigError(f"Encoder type '{config.model_type}' does not tell its feature width.")


def text_tokens(
    encoder: PreTrainedModel,
    input_ids: Int[Tensor, "batch token"],
    attention_mask: Int[Tensor, "batch token"],
) -> Float[Tensor, "batch token dim"]:
    """Return the text's token features."""
    output: Tensor = encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
    return output


def most_tokens(reads: Callable[[int], bool], wanted: int) -> int:
    """Return the length of the longest text that is read, at most `wanted`, by trying.

    Args:
        reads: Whether a text of so many word pieces is read.
        wanted: Length that is tried first.
    """
    if reads(wanted):
        return wanted
    found = bisect_left(range(1, wanted + 1), True, key=lambda length: not reads(length))
    return found or wanted  # what reads nothing fails for another reason


def reads_text_of(encoder: PreTrainedModel, length: int) -> bool:
    """Tell whether a text encoder has positions for so many word pieces.

    It is tried, as configurations do not tell: RoBERTa's ``max_position_embeddings`` counts two
    that no text gets, and for relative positions the number is no limit.
    """
    ids = torch.full((1, length), some_word(encoder.config), device=encoder.device)
    try:
        with torch.no_grad():
            text_tokens(encoder, ids, torch.ones_like(ids))
    except (IndexError, RuntimeError, ValueError):
        return False
    return True


def some_word(config: PreTrainedConfig) -> int:
    """Return the id of a word piece that is no padding: some encoders give padding no position."""
    return 1 if getattr(config, "pad_token_id", None) == 0 else 0


def upper_text_tokens(
    encoder: PreTrainedModel,
    input_ids: Int[Tensor, "batch token"],
    attention_mask: Int[Tensor, "batch token"],
    layers: int,
) -> Float[Tensor, "batch token layers_dim"]:
    """Return the token features of the uppermost layers side by side, fewer if there are fewer."""
    output = encoder(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True)
    return torch.cat(output.hidden_states[-layers:], dim=-1)


def image_tokens(
    encoder: PreTrainedModel, pixel_values: Float[Tensor, "batch channel height width"]
) -> Float[Tensor, "batch patch dim"]:
    """Return the image's token features; a feature map is read row by row."""
    output: Tensor = encoder(pixel_values=pixel_values).last_hidden_state
    is_feature_map = output.ndim == pixel_values.ndim
    return output.flatten(2).transpose(1, 2) if is_feature_map else output


@torch.no_grad()
def frozen_image_tokens(
    encoder: PreTrainedModel, pixel_values: Float[Tensor, "batch channel height width"]
) -> Float[Tensor, "batch patch dim"]:
    """Return the features of a frozen encoder, rounded to half precision.

    They are rounded whether or not they go through a cache, so that both ways give one score.
    """
    if torch.compiler.is_exporting():  # a graph takes any number of images, so it cannot count
        return image_tokens(encoder, pixel_values).half().float()
    parts = torch.split(pixel_values, FROZEN_MICRO_BATCH)
    return torch.cat([image_tokens(encoder, part).half() for part in parts]).float()


def freeze(module: nn.Module) -> None:
    """Take a module out of training: no gradients, no dropout."""
    module.requires_grad_(False).eval()


def text_embeddings(encoder: PreTrainedModel) -> nn.Module:
    """Return the part of a text encoder that turns word pieces into vectors.

    Raises:
        ConfigError: The encoder does not tell which part that is.
    """
    embeddings = getattr(encoder, "embeddings", None)
    if isinstance(embeddings, nn.Module):
        return embeddings
    try:
        tokens: nn.Module = encoder.get_input_embeddings()
    except NotImplementedError as error:
        raise ConfigError(
            f"Text encoder type '{encoder.config.model_type}' does not tell its embeddings: set "
            "freeze_text_embeddings to false and frozen_text_layers to 0."
        ) from error
    return tokens


def lowest_layers(encoder: PreTrainedModel, count: int) -> list[nn.Module]:
    """Return the lowest `count` layers of an encoder's longest stack of layers.

    Raises:
        ConfigError: The encoder has no stack of `count` layers.
    """
    layers = _layers(encoder)
    if count > len(layers):
        raise ConfigError(
            f"The text encoder has {len(layers)} layers: frozen_text_layers can't be {count}."
        )
    return list(layers[:count])


def keep_lowest_layers(encoder: PreTrainedModel, count: int) -> None:
    """Take all but the lowest `count` layers away for good; without any, words alone are left.

    Raises:
        ConfigError: The encoder has fewer layers, its configuration does not count them, or it
            cannot do without any.
    """
    layers = _layers(encoder)
    if count > len(layers):
        raise ConfigError(f"The text encoder has {len(layers)} layers: it cannot keep {count}.")
    if getattr(encoder.config, "num_hidden_layers", None) != len(layers):
        raise ConfigError(
            f"Text encoder type '{encoder.config.model_type}' does not tell its layers: leave "
            "text_layers out."
        )
    del layers[count:]
    encoder.config.num_hidden_layers = count
    token = torch.zeros(1, 1, dtype=torch.long, device=encoder.device)
    try:
        text_tokens(encoder, token, torch.ones_like(token))
    except UnboundLocalError as error:  # some loop over their layers and use what the last left
        raise ConfigError(
            f"Text encoder type '{encoder.config.model_type}' cannot do without layers: set "
            "text_layers to 1 or more."
        ) from error


def _layers(encoder: PreTrainedModel) -> nn.ModuleList:
    """Return the longest stack of layers of an encoder, empty where there is none."""
    stacks = [module for module in encoder.modules() if isinstance(module, nn.ModuleList)]
    return max(stacks, key=len, default=nn.ModuleList())
