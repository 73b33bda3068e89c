"""Run an encoder, or some of its layers: from token ids or pixels to token features."""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from mvcn.encoders.families import family_of, uses_weight
from mvcn.errors import ConfigError
from mvcn.types import WORD_NUMBERS

# Names of the width of the last feature map in configurations, the most specific first.
WIDTH_SETTINGS = ("hidden_size", "neck_hidden_sizes", "hidden_sizes", "hidden_dim")


def token_width(config: PreTrainedConfig) -> int:
    """Return the width of an encoder's token features.

    Raises:
        ConfigError: The configuration of the encoder does not state it.
    """
    for name in WIDTH_SETTINGS:
        if width := getattr(config, name, None):
            return int(width if isinstance(width, int) else width[-1])
    raise ConfigError(
        f"Encoder type '{config.model_type}' does not state its hidden size: choose another "
        "encoder."
    )


def text_tokens(
    encoder: PreTrainedModel,
    input_ids: Int[Tensor, "batch token"],
    attention_mask: Int[Tensor, "batch token"],
    lower_layers: int = 0,
    others: Mapping[str, Tensor] | None = None,
) -> Float[Tensor, "batch token layers_dim"]:
    """Return the text's token features of the last layer, and of layers below it before them.

    Args:
        encoder: Text encoder.
        input_ids: Word pieces, which ``inputs_embeds`` replace.
        attention_mask: 1 for a word piece, 0 for padding.
        lower_layers: Number of layers below the last that are read, too.
        others: Further inputs of the encoder by name.
    """
    others = others or {}
    output = encoder(
        input_ids=None if "inputs_embeds" in others else input_ids % WORD_NUMBERS,
        attention_mask=attention_mask,
        output_hidden_states=lower_layers > 0,
        **others,
    )
    last: Tensor = output.last_hidden_state
    if not lower_layers:
        return last
    return torch.cat([*output.hidden_states[-1 - lower_layers : -1], last], dim=-1)


def most_tokens(reads: Callable[[int], bool], limit: int) -> int:
    """Return the length of the longest text that can be read, up to `limit`, by trying.

    Args:
        reads: Returns whether a text of a number of word pieces can be read.
        limit: Length that is tried first.
    """
    if reads(limit):
        return limit
    found = bisect_left(range(1, limit + 1), True, key=lambda length: not reads(length))
    return found or limit  # if nothing can be read, the reason is not the length


def reads_text_of(encoder: PreTrainedModel, length: int) -> bool:
    """Return whether a text encoder has positions for `length` word pieces, by trying.

    Configurations do not state it: RoBERTa's ``max_position_embeddings`` counts two positions that
    no text gets, and with relative positions the number is no limit.
    """
    ids = torch.full((1, length), some_word(encoder.config), device=encoder.device)
    try:
        with torch.no_grad():
            text_tokens(encoder, ids, torch.ones_like(ids))
    except (IndexError, RuntimeError, ValueError):
        return False
    return True


def some_word(config: PreTrainedConfig) -> int:
    """Return the id of a word piece other than padding, which may have no position."""
    return 1 if getattr(config, "pad_token_id", None) == 0 else 0


def freeze_unused(encoder: PreTrainedModel) -> None:
    """Exclude weights from training that the tokens do not depend on.

    They would get no gradient, for which several processes would wait for each other in vain.
    """
    for name, weight in encoder.named_parameters():
        if not uses_weight(encoder.config, name):
            weight.requires_grad_(False)


def freeze(module: nn.Module) -> None:
    """Exclude a module from training: no gradients, no dropout."""
    module.requires_grad_(False).eval()


def text_embeddings(encoder: PreTrainedModel) -> nn.Module:
    """Return the submodule of a text encoder that embeds word pieces.

    Raises:
        ConfigError: The encoder does not name it.
    """
    embeddings = getattr(encoder, "embeddings", None)
    if isinstance(embeddings, nn.Module):
        return embeddings
    try:
        tokens: nn.Module = encoder.get_input_embeddings()
    except NotImplementedError as error:
        raise ConfigError(
            f"Text encoder type '{encoder.config.model_type}' does not expose its embeddings: use "
            "--set model.freeze_text_embeddings=false --set model.frozen_text_layers=0."
        ) from error
    return tokens


def lowest_layers(encoder: PreTrainedModel, count: int) -> list[nn.Module]:
    """Return the lowest `count` layers of an encoder's longest stack of layers.

    Raises:
        ConfigError: The encoder has no stack of `count` layers.
    """
    layers = _layers(encoder)
    family = family_of(encoder.config)
    if count and family is not None and family.shares_layers:
        raise ConfigError(
            f"Text encoder type '{encoder.config.model_type}' applies one layer again and again: "
            f"model.frozen_text_layers is {count}, so use --set model.frozen_text_layers=0, or all."
        )
    if count > len(layers):
        raise ConfigError(
            f"The text encoder has {len(layers)} layers, but model.frozen_text_layers is {count}: "
            f"use --set model.frozen_text_layers=N with N from 0 to {len(layers)}, or all."
        )
    return list(layers[:count])


def keep_lowest_layers(encoder: PreTrainedModel, count: int) -> None:
    """Remove all but the lowest `count` layers; with 0, only the embeddings are left.

    Raises:
        ConfigError: The encoder has fewer layers, its configuration does not state their number,
            or it does not run without any.
    """
    layers = _layers(encoder)
    if count > len(layers):
        raise ConfigError(
            f"The text encoder has {len(layers)} layers, so it cannot keep {count}: use --set "
            f"model.text_layers=N with N from 0 to {len(layers)}."
        )
    if getattr(encoder.config, "num_hidden_layers", None) != len(layers):
        raise ConfigError(
            f"Text encoder type '{encoder.config.model_type}' does not state its number of layers: "
            "leave out model.text_layers."
        )
    del layers[count:]
    encoder.config.num_hidden_layers = count
    _require_runs(encoder)


def _require_runs(encoder: PreTrainedModel) -> None:
    """Raise a ConfigError if a text encoder does not run without layers."""
    token = torch.zeros(1, 1, dtype=torch.long, device=encoder.device)
    try:
        text_tokens(encoder, token, torch.ones_like(token))
    except UnboundLocalError as error:  # some use a variable of the loop over layers
        raise ConfigError(
            f"Text encoder type '{encoder.config.model_type}' needs at least one layer: use --set "
            "model.text_layers=1 or more."
        ) from error


class FrozenTextEncoder:
    """Runs a text encoder that is frozen completely.

    Args:
        encoder: Text encoder.
        lower_layers: See `text_tokens`.
    """

    are_constant = True
    """Outputs never change, as those of `FrozenTextLayers` may."""
    dtype = torch.float16
    """In which `states` can be held."""

    def __init__(self, encoder: PreTrainedModel, lower_layers: int) -> None:
        self._encoder = encoder
        self._lower_layers = lower_layers

    @torch.no_grad()
    def states(
        self, input_ids: Int[Tensor, "batch token"], attention_mask: Int[Tensor, "batch token"]
    ) -> Float[Tensor, "batch token dim"]:
        """Return the token features, rounded to half precision as they may be held."""
        tokens = text_tokens(self._encoder, input_ids, attention_mask, self._lower_layers)
        return tokens.to(self.dtype).float()

    def tokens(
        self,
        states: Float[Tensor, "batch token dim"],
        input_ids: Int[Tensor, "batch token"],
        attention_mask: Int[Tensor, "batch token"],
    ) -> Float[Tensor, "batch token dim"]:
        """Return the token features from `states`, which are the same."""
        return states


class FrozenTextLayers:
    """Runs only the lowest layers of a text encoder, or the encoder above them.

    The outputs of frozen layers never change, so they can be computed once per text.

    Args:
        encoder: Text encoder with frozen embeddings and lowest layers.
        count: Number of frozen layers, 1 or more.
        lower_layers: See `text_tokens`; none of them below the highest frozen one.

    Raises:
        ConfigError: The encoder has no stack of `count` layers.
    """

    dtype = torch.float32
    """In which `states` can be held: trained layers amplify what rounding changes."""

    def __init__(self, encoder: PreTrainedModel, count: int, lower_layers: int = 0) -> None:
        self._encoder = encoder
        self._layers = lowest_layers(encoder, count)
        self._upper_layers = list(_layers(encoder)[count:])
        self._lower_layers = lower_layers
        token = torch.zeros(1, 1, dtype=torch.long, device=encoder.device)
        with torch.enable_grad():
            output = self._run(token, torch.ones_like(token))
        self._returns_tuple = isinstance(output, tuple)
        self.are_constant = not self._states_of(output).requires_grad
        """False if the lowest layers use a parameter that is trained."""

    @torch.no_grad()
    def states(
        self, input_ids: Int[Tensor, "batch token"], attention_mask: Int[Tensor, "batch token"]
    ) -> Float[Tensor, "batch token width"]:
        """Return the outputs of the lowest layers."""
        return self._states_of(self._run(input_ids, attention_mask))

    def tokens(
        self,
        states: Float[Tensor, "batch token width"],
        input_ids: Int[Tensor, "batch token"],
        attention_mask: Int[Tensor, "batch token"],
    ) -> Float[Tensor, "batch token dim"]:
        """Return the token features of texts from the outputs of the lowest layers."""
        output = (states, None) if self._returns_tuple else states
        with _returning(self._layers, lambda: output):
            return text_tokens(self._encoder, input_ids, attention_mask, self._lower_layers)

    def _run(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        """Return the output of the highest frozen layer, a tuple for some encoders.

        The layers above it return the same, without running.
        """
        seen: list[Any] = []
        hook = self._layers[-1].register_forward_hook(lambda *call: seen.append(call[-1]))
        try:
            with _returning(self._upper_layers, lambda: seen[0]):
                text_tokens(self._encoder, input_ids, attention_mask)
        finally:
            hook.remove()
        return seen[0]

    @staticmethod
    def _states_of(output: Any) -> Tensor:
        states: Tensor = output[0] if isinstance(output, tuple) else output
        return states


@contextmanager
def _returning(layers: Sequence[nn.Module], output: Callable[[], Any]) -> Iterator[None]:
    """Make layers return the result of `output` without running."""
    for layer in layers:
        layer.forward = lambda *_, **__: output()
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def most_lower_layers(encoder: PreTrainedModel, frozen_layers: int = 0) -> int:
    """Return how many layers below the last `text_tokens` can read.

    Args:
        encoder: Text encoder.
        frozen_layers: Lowest layers of which only the output of the highest is held.
    """
    return max(0, len(_layers(encoder)) - max(1, frozen_layers))


def _layers(encoder: PreTrainedModel) -> nn.ModuleList:
    """Return the longest stack of layers of an encoder, empty if there is none."""
    stacks = [module for module in encoder.modules() if isinstance(module, nn.ModuleList)]
    return max(stacks, key=len, default=nn.ModuleList())
