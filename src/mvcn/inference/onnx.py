"""Write a model as ONNX graphs: from pixels to features, and from word pieces to logits."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from mvcn.errors import ConfigError
from mvcn.inputs.processor import MvcnProcessor
from mvcn.models.classification import MvcnForClassification
from mvcn.runtime.graphs import FEATURES, FILES, IMAGE_FILE, MAX_TOKENS, WEIGHTS

TEXT_INPUTS = ("input_ids", "attention_mask", "text_mask")
OUTPUTS = ("logits", "disagreement")
"""Of an ensemble; a single model has the first alone."""
OPSET = 23
"""The first with attention as one operator, which avoids a reshaping for each head."""
BLOCK = 128
INT8_ACTIVATIONS = 4
"""Accuracy level of onnxruntime that also rounds activations to eight bits."""
MOST_TOKENS = 512
"""Longest text that is tried, unless the processor keeps longer ones."""
EXAMPLE_TEXTS = ("one two three", "", "four")


def require_onnx() -> None:
    """Raise a ConfigError unless onnxruntime and onnxscript are installed."""
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError("ONNX graphs need an extra: pip install 'mvcn[onnx]'.") from error


def write_graphs(
    model: MvcnForClassification, processor: MvcnProcessor, folder: Path, weights: str
) -> None:
    """Write a model as ONNX graphs that take any number of posts, and texts of any length.

    The one of images makes features of pixels, for a model that reads them; the other makes logits
    of word pieces and features.

    Args:
        model: In evaluation mode, on the CPU.
        processor: The model's own.
        folder: Where `IMAGE_FILE` and the file of the backend ``onnx`` are written.
        weights: Digest of the model's weights.

    Raises:
        ConfigError: The network cannot be expressed as such a graph, or the extra is missing.
    """
    require_onnx()
    batch = _example(processor)
    metadata = {
        WEIGHTS: weights,
        MAX_TOKENS: str(model.most_tokens(max(processor.max_tokens, MOST_TOKENS))),
    }
    if model.image_encoder is not None:
        pixels = batch.pop("pixel_values")
        images = _ImageGraph(model)
        _write(images, {"pixel_values": pixels}, folder / IMAGE_FILE, metadata)
        with torch.inference_mode():
            batch[FEATURES] = images(pixels).clone()
    else:
        batch = {name: batch[name] for name in TEXT_INPUTS}
    _write(_Graph(model, tuple(batch)), batch, folder / FILES["onnx"], metadata)


def _write(
    graph: "_Graph | _ImageGraph",
    inputs: Mapping[str, Tensor],
    path: Path,
    metadata: Mapping[str, str],
) -> None:
    shapes = tuple(_dynamic_axes(name) for name in inputs)
    try:
        with _quiet():
            program = torch.onnx.export(
                graph,
                tuple(inputs.values()),
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes=(shapes,),
                input_names=list(inputs),
                output_names=list(graph.outputs),
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise _impossible(graph.model) from error
    assert program is not None  # of dynamo=True
    if any(_fixed_axes(given) for given in program.model.graph.inputs):
        raise _impossible(graph.model)
    program.model.metadata_props.update(metadata)
    program.save(path)


def quantize_graph(path: Path, output: Path) -> None:
    """Write a graph whose linear layers compute in eight bits; the rest stays as it is.

    Weights and activations are rounded in blocks of `BLOCK` inputs, each with its own scale.
    Measured on posts of MVSA-Single: with one scale per row of activations, as is usual, 12 of 450
    posts change their class, with blocks 2. The convolutions of an image encoder stay in single
    precision.

    Args:
        path: Graph of `write_graph`.
        output: File to write.

    Source:
        Dettmers et al., ICLR 2022 (block-wise quantization), as onnxruntime's MatMulNBits does it.
    """
    import onnx
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    graph = onnx.load(path)
    del graph.graph.value_info[:]  # shapes that the optimizer left behind contradict its graph
    quantizer = MatMulNBitsQuantizer(
        graph, bits=8, block_size=BLOCK, is_symmetric=True, accuracy_level=INT8_ACTIVATIONS
    )
    with _quiet():
        quantizer.process()
        quantizer.model.save_model_to_file(str(output), use_external_data_format=False)


class _ImageGraph(nn.Module):
    """The image encoder of a model, or those of all its members."""

    outputs = (FEATURES,)

    def __init__(self, model: MvcnForClassification) -> None:
        super().__init__()
        self.model = model

    def forward(self, *tensors: Tensor) -> Tensor:
        """Return the features of images."""
        return self.model.encode_images(*tensors)


class _Graph(nn.Module):
    """A model without its image encoder, with positional inputs, as the exporter needs it."""

    def __init__(self, model: MvcnForClassification, inputs: tuple[str, ...]) -> None:
        super().__init__()
        self.model = model
        self.inputs = inputs
        self.outputs = OUTPUTS if model.config.members > 1 else OUTPUTS[:1]

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return logits and, of an ensemble, disagreement."""
        output = self.model(**dict(zip(self.inputs, tensors, strict=True)))
        return tuple(output[name] for name in self.outputs)


def _example(processor: MvcnProcessor) -> dict[str, Tensor]:
    """Return a batch of posts with and without a text and an image."""
    size = processor.image_size_px
    shown = Image.new("RGB", (size, size), "white")
    return dict(processor(EXAMPLE_TEXTS, [shown, shown, None]))


def _dynamic_axes(name: str) -> dict[int, object]:
    batch, token = torch.export.Dim("batch"), torch.export.Dim("token")
    return {0: batch, 1: token} if name in {"input_ids", "attention_mask"} else {0: batch}


def _fixed_axes(given: Any) -> list[int]:
    """Return the axes of a graph's input that should be dynamic but have the example's size."""
    return [axis for axis in _dynamic_axes(given.name) if isinstance(given.shape[axis], int)]


def _impossible(model: MvcnForClassification) -> ConfigError:
    return ConfigError(
        f"The network '{model.config.network}' cannot become one ONNX graph for all batches: use "
        "it with the backend torch."
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporters' logs and warnings, which do not concern the model."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxruntime")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
