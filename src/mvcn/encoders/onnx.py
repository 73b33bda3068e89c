"""Write a module as an ONNX graph."""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from onnxscript import optimizer
from torch import Tensor, nn

from mvcn.errors import ConfigError

OPSET = 23
"""The first with attention as one operator, which avoids a reshaping for each head."""
BATCH = torch.export.Dim("batch")
MAY_BE_FIXED = torch.export.Dim.AUTO
"""In place of the name of an axis that need not take any size."""


def write_graph(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    path: Path,
    axes: Mapping[str, Mapping[int, Any]],
    metadata: Mapping[str, str],
) -> None:
    """Write a module as a graph that takes any number of samples.

    Args:
        module: Its `forward` takes ``*tensors``.
        inputs: An example of each, in their order.
        outputs: Names of what it returns.
        path: File to write.
        axes: Name of an input -> axes that take any size, besides the first, by their names.
        metadata: What is kept in the file.

    Raises:
        ConfigError: The module cannot be expressed as such a graph.
    """
    dynamic = {name: {0: BATCH, **axes.get(name, {})} for name in inputs}
    try:
        with _quiet(), torch.no_grad():  # kernels for training lay tensors out in another way
            program = torch.onnx.export(
                module,
                tuple(inputs.values()),
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes=(tuple(dynamic.values()),),
                input_names=list(inputs),
                output_names=list(outputs),
                verbose=False,
                optimize=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise ConfigError("It cannot become an ONNX graph.") from error
    assert program is not None  # of dynamo=True
    for given in program.model.graph.inputs:
        _require_dynamic(given, dynamic[str(given.name)])
    # Torch's own optimization also fuses rotary embeddings, in a form that onnxruntime refuses.
    optimizer.optimize(program.model)
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # the lines of code that it comes from, with paths
    program.model.metadata_props.update(metadata)
    program.save(path)


def _require_dynamic(given: Any, axes: Mapping[int, Any]) -> None:
    for axis, name in axes.items():
        if name != MAY_BE_FIXED and isinstance(given.shape[axis], int):
            raise ConfigError("It cannot become one ONNX graph for all batches.")


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporters' logs and warnings, which do not concern the module."""
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
