"""Write and run a model, from word pieces and pixels to logits, as one ONNX graph."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor, nn

from mvcn.encoders.tokens import some_word
from mvcn.errors import ConfigError, RunError
from mvcn.files import require_allowed
from mvcn.inputs.processor import MvcnProcessor
from mvcn.models.classification import MvcnForClassification
from mvcn.models.configuration import MvcnConfig
from mvcn.models.network import MvcnOutput
from mvcn.models.registry import system

Backend = Literal["torch", "onnx", "onnx-int8"]
FILES: dict[Backend, str] = {"onnx": "model.onnx", "onnx-int8": "model-int8.onnx"}
"""Name of each backend's graph in a run folder."""
TYPES = {"tensor(int64)": torch.int64, "tensor(bool)": torch.bool, "tensor(float)": torch.float32}
TEXT_INPUTS = ("input_ids", "attention_mask", "text_mask")
IMAGE_INPUTS = ("pixel_values", "image_mask")
OUTPUTS = ("logits", "disagreement")
"""Of an ensemble; a single model has the first alone."""
OPSET = 23
"""The first with attention as one operator, which avoids a reshaping for each head."""
BLOCK = 128
INT8_ACTIVATIONS = 4
"""Accuracy level of onnxruntime that also rounds activations to eight bits."""
EXAMPLE_TEXTS = ("one two three", "", "four")


def require_onnx() -> None:
    """Raise a ConfigError unless onnxruntime and onnxscript are installed."""
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError("ONNX graphs need an extra: pip install 'mvcn[onnx]'.") from error


def write_graph(model: MvcnForClassification, processor: MvcnProcessor, path: Path) -> None:
    """Write a model as an ONNX graph that takes any number of posts, and texts of any length.

    Args:
        model: In evaluation mode, on the CPU.
        processor: The model's own.
        path: File to write.

    Raises:
        ConfigError: The network cannot be expressed as such a graph, or the extra is missing.
    """
    require_onnx()
    graph = _Graph(model)
    batch = _example(processor)
    shapes = tuple(_dynamic_axes(name) for name in graph.inputs)
    try:
        with _quiet():
            program = torch.onnx.export(
                graph,
                tuple(batch[name] for name in graph.inputs),
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes=(shapes,),
                input_names=list(graph.inputs),
                output_names=list(graph.outputs),
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise _impossible(model) from error
    assert program is not None  # of dynamo=True
    if any(_fixed_axes(given) for given in program.model.graph.inputs):
        raise _impossible(model)
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


class OnnxModel:
    """An ONNX graph with the part of a model's interface that prediction needs.

    Args:
        folder: A run folder.
        path: The graph.

    Raises:
        ConfigError: onnxruntime is not installed.
        RunError: The file is damaged, or may not be read.
    """

    device = torch.device("cpu")

    def __init__(self, folder: Path, path: Path) -> None:
        require_onnx()
        import onnxruntime

        require_allowed(path, RunError)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # Idle threads sleep, for the benefit of other programs: docs/performance.md.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime has a different class for each kind of damage
            raise RunError(f"{path} is damaged: write it again by mvcn export.") from error
        self.config: MvcnConfig = MvcnConfig.from_pretrained(folder)
        self._inputs = self._session.get_inputs()

    @classmethod
    def of_run(cls, folder: Path, backend: Backend) -> "OnnxModel":
        """Load the graph that `mvcn export` has written into a run folder.

        Raises:
            ConfigError: onnxruntime is not installed.
            RunError: The file is missing or damaged.
        """
        path = folder / FILES[backend]
        if not path.is_file():
            quantize = " --quantize int8" if backend == "onnx-int8" else ""
            raise RunError(f"There is no {path}: make it by mvcn export {folder}{quantize}.")
        return cls(folder, path)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes in the order of the logits."""
        return tuple(self.config.id2label[index] for index in range(self.config.num_labels))

    def reads_text_of(self, length: int) -> bool:
        """Return whether texts of this many word pieces can be read."""
        free_axes = {"batch": 1, "token": length}
        post = {
            entry.name: torch.ones(
                [free_axes.get(axis, axis) for axis in entry.shape], dtype=TYPES[entry.type]
            )
            for entry in self._inputs
        }
        if "input_ids" in post:
            post["input_ids"].fill_(some_word(self.config.text_config))
        try:
            self(**post)
        except Exception:  # onnxruntime has a different class for each operator that fails
            return False
        return True

    def __call__(self, **inputs: Tensor) -> MvcnOutput:
        """Classify posts; inputs as those of `MvcnForClassification.forward`."""
        feed = {entry.name: inputs[entry.name].numpy() for entry in self._inputs}
        names = [entry.name for entry in self._session.get_outputs()]
        values = map(torch.from_numpy, self._session.run(names, feed))
        return MvcnOutput(**dict(zip(names, values, strict=True)))


class _Graph(nn.Module):
    """A model with positional inputs, as the exporter needs it."""

    def __init__(self, model: MvcnForClassification) -> None:
        super().__init__()
        self.model = model
        reads_image = system(model.config.network).reads_image
        self.inputs = (*TEXT_INPUTS, *(IMAGE_INPUTS if reads_image else ()))
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
