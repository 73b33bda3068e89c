"""The frozen lower layers of a text encoder, apart from the rest: what they make never changes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from mvcn.encoders.tokens import lowest_layers, text_tokens


class FrozenTextLayers:
    """Runs the lowest layers of a text encoder alone, or the encoder without running them.

    Args:
        encoder: Text encoder; its embeddings and lowest layers are frozen.
        count: How many layers are, 1 or more.

    Raises:
        ConfigError: The encoder has no stack of `count` layers.
    """

    def __init__(self, encoder: PreTrainedModel, count: int) -> None:
        self._encoder = encoder
        self._layers = lowest_layers(encoder, count)
        token = torch.zeros(1, 1, dtype=torch.long, device=encoder.device)
        with torch.enable_grad():
            output = self._run(token, torch.ones_like(token))
        self._returns_tuple = isinstance(output, tuple)
        self.are_constant = not self._states_of(output).requires_grad
        """False where some encoder's parameter that is trained takes part in its lowest layers."""

    @torch.no_grad()
    def states(
        self, input_ids: Int[Tensor, "batch token"], attention_mask: Int[Tensor, "batch token"]
    ) -> Float[Tensor, "batch token width"]:
        """Return what the lowest layers make of texts."""
        return self._states_of(self._run(input_ids, attention_mask))

    def tokens(
        self,
        states: Float[Tensor, "batch token width"],
        input_ids: Int[Tensor, "batch token"],
        attention_mask: Int[Tensor, "batch token"],
    ) -> Float[Tensor, "batch token dim"]:
        """Return the token features of texts whose states are known."""
        with self._standing_in((states, None) if self._returns_tuple else states):
            return text_tokens(self._encoder, input_ids, attention_mask)

    def _run(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        """Return the output of the highest of the lowest layers, a tuple for some encoders."""
        seen: list[Any] = []
        hook = self._layers[-1].register_forward_hook(lambda *call: seen.append(call[-1]))
        try:
            text_tokens(self._encoder, input_ids, attention_mask)
        finally:
            hook.remove()
        return seen[0]

    @staticmethod
    def _states_of(output: Any) -> Tensor:
        states: Tensor = output[0] if isinstance(output, tuple) else output
        return states

    @contextmanager
    def _standing_in(self, output: Any) -> Iterator[None]:
        """Let the lowest layers return `output` without being run."""
        for layer in self._layers:
            layer.forward = lambda *_, **__: output
        try:
            yield
        finally:
            for layer in self._layers:
                del layer.forward
