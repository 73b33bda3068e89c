"""What the frozen layers of a text encoder make of posts' texts, computed once and held."""

from collections.abc import Iterable, Sequence
from itertools import chain

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from mvcn.encoders.tokens import FrozenTextEncoder, FrozenTextLayers, token_width
from mvcn.models.classification import MvcnForClassification
from mvcn.runtime.processing import PostProcessing

TEXTS_AT_ONCE = 32
MOST_BYTES = 2**30


class FrozenTexts:
    """States of texts below the first trained layer, found by their word pieces.

    They stay in memory for one training, which reads each text several times, in the precision of
    the frozen layers: what is trained on them gives the same scores on texts.

    Args:
        layers: The model's frozen text layers.
        processor: The model's own.
        width: Of their states.
    """

    def __init__(
        self, layers: FrozenTextEncoder | FrozenTextLayers, processor: PostProcessing, width: int
    ) -> None:
        self._layers = layers
        self._processor = processor
        self._width = width
        self._states: dict[tuple[int, ...], Tensor] = {}

    def encode(self, texts: Iterable[Sequence[int]]) -> None:
        """Compute the states of texts, given as word pieces, those of like length together."""
        # The longest first, and one piece of memory for all: thousands of small ones between what
        # comes and goes would leave gaps, more than twice their own size.
        order = sorted({tuple(text) for text in texts} - self._states.keys(), key=len, reverse=True)
        memory = torch.empty(sum(map(len, order)), self._width, dtype=self._layers.dtype)
        places = iter(torch.split(memory, [len(text) for text in order]))
        with tqdm(total=len(order), desc="Text features", unit="text") as progress:
            for start in range(0, len(order), TEXTS_AT_ONCE):
                chosen = order[start : start + TEXTS_AT_ONCE]
                for text, state in zip(chosen, self._compute(chosen), strict=True):
                    self._states[text] = next(places).copy_(state[: len(text)])
                progress.update(len(chosen))

    def pad(self, texts: Iterable[Sequence[int]]) -> Float[Tensor, "batch token width"]:
        """Return the states of texts that were encoded, padded to the longest."""
        states = [self._states[tuple(text)] for text in texts]
        return pad_sequence(states, batch_first=True).float()

    def _compute(self, texts: Sequence[tuple[int, ...]]) -> Float[Tensor, "batch token width"]:
        batch = self._processor.pad([list(text) for text in texts])
        return self._layers.states(**{name: torch.from_numpy(ids) for name, ids in batch.items()})


def frozen_texts(
    model: MvcnForClassification, processor: PostProcessing, *splits: Iterable[Sequence[int]]
) -> FrozenTexts | None:
    """Return the states of texts, or None where there are none or they would take too much memory.

    None, too, where something that is trained has a part in them: see `FrozenTextLayers`.

    Args:
        model: The model.
        processor: The model's own.
        splits: The texts of each split as word pieces, read twice.
    """
    layers = model.frozen_text_layers
    config = model.config
    width = config.text_width if config.text_encoder_is_frozen else token_width(config.text_config)
    if layers is None or not layers.are_constant:
        return None
    if sum(len(ids) for ids in chain(*splits)) * width * layers.dtype.itemsize > MOST_BYTES:
        return None
    found = FrozenTexts(layers, processor, width)
    found.encode(chain(*splits))
    return found
