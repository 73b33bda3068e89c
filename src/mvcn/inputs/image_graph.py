"""A frozen image encoder as an ONNX graph: written once, and kept in the cache on disk."""

from pathlib import Path
from tempfile import TemporaryDirectory

from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from mvcn.encoders.images import frozen_image_tokens
from mvcn.encoders.onnx import write_graph
from mvcn.errors import ConfigError, RunError
from mvcn.runtime.graphs import FEATURES, PIXELS, open_graph


def write_image_graph(module: nn.Module, pixels: Tensor, path: Path) -> None:
    """Write a module that makes features of pixels as a graph.

    Raises:
        ConfigError: It cannot be expressed as one.
    """
    write_graph(module, {PIXELS: pixels}, (FEATURES,), path, {}, {})


def keep_image_graph(encoder: PreTrainedModel, pixels: Tensor, path: Path) -> bool:
    """Write the graph of a frozen image encoder into the cache, unless it is there undamaged.

    Args:
        encoder: The encoder.
        pixels: Some images.
        path: File of the graph.

    Returns:
        False where the encoder cannot be expressed as a graph, or the cache cannot be written.
    """
    if _can_be_opened(path):
        return True
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=path.parent) as folder:
            write_image_graph(_FrozenEncoder(encoder), pixels, Path(folder, path.name))
            Path(folder, path.name).replace(path)
    except (ConfigError, OSError):
        return False
    return True


def _can_be_opened(path: Path) -> bool:
    try:
        open_graph(path)
    except RunError:
        return False
    return True


class _FrozenEncoder(nn.Module):
    def __init__(self, encoder: PreTrainedModel) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, *tensors: Tensor) -> Float[Tensor, "batch patch dim"]:
        return frozen_image_tokens(self.encoder, *tensors)
