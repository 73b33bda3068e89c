"""What the frozen layers of a text encoder make of posts' texts, computed once and held."""

from collections.abc import Iterable, Sequence

from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from mvcn.encoders.frozen_text import FrozenTextLayers
from mvcn.encoders.tokens import token_width
from mvcn.models.classification import MvcnForClassification
from mvcn.models.processor import MvcnProcessor

TEXTS_AT_ONCE = 32
MOST_BYTES = 2**30
FLOAT_BYTES = 4


class FrozenTexts:
    """States of texts below the first trained layer, found by their word pieces.

    They stay in memory for one training, which reads each text several times. Unlike features of
    images they are not rounded: what is trained on them gives the same scores on texts.

    Args:
        layers: The model's frozen text layers.
        processor: The model's own.
    """

    def __init__(self, layers: FrozenTextLayers, processor: MvcnProcessor) -> None:
        self._layers = layers
        self._processor = processor
        self._states: dict[tuple[int, ...], Tensor] = {}

    def prepare(self, texts: Iterable[Sequence[int]]) -> None:
        """Compute the states of texts, given as word pieces, those of like length together."""
        order = sorted({tuple(text) for text in texts}, key=len)
        with tqdm(total=len(order), desc="Text features", unit="text") as progress:
            for start in range(0, len(order), TEXTS_AT_ONCE):
                chosen = order[start : start + TEXTS_AT_ONCE]
                self._add(chosen)
                progress.update(len(chosen))

    def pad(self, texts: Iterable[Sequence[int]]) -> Float[Tensor, "batch token width"]:
        """Return the states of texts that were prepared, padded to the longest."""
        return pad_sequence([self._states[tuple(text)] for text in texts], batch_first=True)

    def _add(self, texts: Sequence[tuple[int, ...]]) -> None:
        batch = self._processor.pad([list(text) for text in texts])
        states = self._layers.states(**batch)
        for text, state in zip(texts, states, strict=True):
            self._states[text] = state[: len(text)].clone()


def frozen_texts(
    model: MvcnForClassification, processor: MvcnProcessor, texts: Sequence[Sequence[int]]
) -> FrozenTexts | None:
    """Return the states of texts, or None where there are none or they would take too much memory.

    None, too, where something that is trained has a part in them: see `FrozenTextLayers`.
    """
    layers = model.frozen_text_layers
    width = token_width(model.config.text_config)
    is_small = sum(map(len, texts)) * width * FLOAT_BYTES <= MOST_BYTES
    if layers is None or not layers.are_constant or not is_small:
        return None
    found = FrozenTexts(layers, processor)
    found.prepare(texts)
    return found
