"""Write the model of a run as ONNX graphs, and compare both on posts.

One graph makes features of pixels, the other logits of word pieces and features.
"""

import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from mvcn.data.synthetic import generate_posts
from mvcn.encoders.families import family_of
from mvcn.encoders.onnx import MAY_BE_FIXED, write_graph
from mvcn.errors import ConfigError, DataError, MvcnError, RunError, reason_of
from mvcn.inputs.image_graph import write_image_graph
from mvcn.inputs.images import ImageFeatures, image_inputs
from mvcn.inputs.processor import MvcnProcessor
from mvcn.inputs.torch_model import TorchModel
from mvcn.models.classification import MvcnForClassification
from mvcn.outputs import require_new_file
from mvcn.runtime.graphs import (
    FEATURES,
    IMAGE_FILE,
    IMAGE_GRAPH,
    MAX_TOKENS,
    MODEL_FILE,
    PIXELS,
    WEIGHTS,
    GraphModel,
    file_digest,
    weights_digest,
)
from mvcn.training.run_folder import Run
from mvcn.types import Post

LOG = logging.getLogger(__name__)
TOLERANCE = 1e-4
"""Largest difference of a probability, single precision against single precision."""
MAX_COMPARED, COMPARED_AT_ONCE = 500, 64
"""Posts of the comparison, when it is asked for and after a training."""
GENERATED = 64
MEGABYTE = 1e6

TEXT_INPUTS = ("input_ids", "attention_mask", "text_mask")
OUTPUTS = ("logits", "disagreement")
"""Of an ensemble; a single model has the first alone."""
MOST_TOKENS = 512
"""Longest text that is tried, unless the processor keeps longer ones."""
EXAMPLE_TEXTS = ("one two three", "", "four")


@dataclass(frozen=True, slots=True)
class Export:
    """Graphs in the folder of a run, and how much they differ from the model."""

    folder: Path
    posts: int
    """Number of posts on which both were compared."""
    are_generated: bool
    """Whether these were generated, since those of the run are gone."""
    difference: float
    """Largest difference of a probability."""
    changed: float
    """Share of the posts with another class."""

    @property
    def megabytes(self) -> float:
        """Size of the graphs."""
        return sum(path.stat().st_size for path in self.folder.glob("*.onnx")) / MEGABYTE


def export_after_training(run: Run) -> None:
    """Write the graphs of a finished run, unless its network cannot be expressed as graphs.

    The run is complete without them: what goes wrong is a warning.
    """
    started, saved = time.monotonic(), Run(run.folder)
    saved.posts = run.posts  # so that they are not read again
    LOG.info("Writing ONNX graphs of the model, so that prediction needs no PyTorch.")
    try:
        found = export_run(saved, COMPARED_AT_ONCE)
    except (MvcnError, OSError) as error:
        LOG.warning("No ONNX graphs were written: %s", error)
        return
    seconds = time.monotonic() - started
    LOG.info("Wrote ONNX graphs of %.0f MB in %.0f s.", found.megabytes, seconds)


def export_run(run: Run, most: int = MAX_COMPARED, *, overwrite: bool = False) -> Export:
    """Write the graphs of a run's model into its folder, if they give the same probabilities.

    Args:
        run: A finished run.
        most: Held-out posts on which model and graphs are compared.
        overwrite: Replace earlier graphs.

    Raises:
        ConfigError: The network cannot be expressed as graphs.
        RunError: The run is damaged, a file exists, or the graphs give other probabilities.
    """
    folder, processor = run.folder, run.processor
    for name in (MODEL_FILE, IMAGE_FILE):
        require_new_file(folder / name, overwrite=overwrite)
    with TemporaryDirectory(dir=folder) as written:
        place = Path(written)
        write_graphs(run.model, processor, place, weights_digest(folder))
        found = _compare(run, GraphModel(folder, processor, graphs=place), most)
        for path in place.iterdir():
            path.replace(folder / path.name)
    return found


def _compare(run: Run, graphs: GraphModel, most: int) -> Export:
    model = TorchModel(run.model, run.processor, run.attribute_model)
    posts, are_generated = _posts(run, most)
    ours = _probabilities(model, posts)
    if not len(ours):  # none of them can be read any more
        posts, are_generated = _generated_posts(), True
        ours = _probabilities(model, posts)
    try:
        theirs = _probabilities(graphs, posts)
    except Exception as error:  # onnxruntime has a different class for each fault
        raise RunError(
            f"The ONNX graphs of {run.folder} cannot be run ({reason_of(error)}), so they were not "
            "kept: use the run with --backend torch."
        ) from error
    difference = float(np.abs(ours - theirs).max())
    if difference > TOLERANCE:
        raise RunError(
            f"The ONNX graphs of {run.folder} differ from its model by {difference:.1e} in a "
            f"probability (more than {TOLERANCE:.0e}), so they were not kept: use the run with "
            "--backend torch."
        )
    changed = float((ours.argmax(1) != theirs.argmax(1)).mean())
    return Export(run.folder, len(ours), are_generated, difference, changed)


def _posts(run: Run, most: int) -> tuple[Sequence[Post], bool]:
    """Return the run's held-out posts, or generated ones if they are gone; and which of both."""
    try:
        return run.held_out_posts[:most], False
    except DataError:
        return _generated_posts(), True


def _generated_posts() -> list[Post]:
    return [one.post for one in generate_posts(GENERATED, seed=0)]


def _probabilities(
    model: TorchModel | GraphModel, posts: Sequence[Post]
) -> Float[np.ndarray, "posts classes"]:
    rows, _ = model.predict(model.encoder().encode(posts, "blank"))
    return rows


def write_graphs(
    model: MvcnForClassification, processor: MvcnProcessor, folder: Path, weights: str
) -> None:
    """Write a model as ONNX graphs that take any number of posts, and texts of any length.

    The one of images makes features of pixels, for a model that reads them; the other makes logits
    of word pieces and features.

    Args:
        model: In evaluation mode, on the CPU.
        processor: The model's own.
        folder: Where `IMAGE_FILE` and `MODEL_FILE` are written.
        weights: Digest of the model's weights.

    Raises:
        ConfigError: The network cannot be expressed as such a graph.
    """
    batch = _example(processor)
    most = model.most_tokens(max(processor.max_tokens, MOST_TOKENS))
    metadata = {WEIGHTS: weights, MAX_TOKENS: str(most)}
    try:
        if model.image_encoder is not None:
            batch[FEATURES] = _write_image_graph(model, processor, batch.pop(PIXELS), folder)
            metadata[IMAGE_GRAPH] = file_digest(folder / IMAGE_FILE)
        else:
            batch = {name: batch[name] for name in TEXT_INPUTS}
        graph = _Graph(model, tuple(batch))
        write_graph(graph, batch, graph.outputs, folder / MODEL_FILE, _axes(most), metadata)
    except ConfigError as error:
        raise ConfigError(
            f"{_what_cannot(model)} cannot become one ONNX graph for all batches: use the run with "
            "--backend torch."
        ) from error


def _what_cannot(model: MvcnForClassification) -> str:
    """Return the encoder whose family has no graph, or else the network, as a subject."""
    encoders = (model.text_encoder, "text"), (model.image_encoder, "image")
    for encoder, kind in encoders:
        family = None if encoder is None else family_of(encoder.config)
        if family is not None and not family.has_graph:
            return f"The {kind} encoder, {family.title},"
    return f"The network '{model.config.network}'"


def _axes(most_tokens: int) -> Mapping[str, Mapping[int, Any]]:
    """Return the axes that take any size: texts as far as the encoder has positions for them.

    One token of zeros stands for those of a missing image, where the network allows it.
    """
    token = torch.export.Dim("token", max=most_tokens)
    return {
        "input_ids": {1: token},
        "attention_mask": {1: token},
        FEATURES: {1: MAY_BE_FIXED},
    }


def _write_image_graph(
    model: MvcnForClassification, processor: MvcnProcessor, pixels: Tensor, folder: Path
) -> Tensor:
    """Write the graph of images, that of a frozen encoder by way of the cache; return features."""
    images = image_inputs(model, processor, by_graph=True)
    kept = images.kept_graph() if isinstance(images, ImageFeatures) else None
    if kept is not None:
        shutil.copy(kept, folder / IMAGE_FILE)
    else:
        write_image_graph(_ImageGraph(model), pixels, folder / IMAGE_FILE)
    with torch.inference_mode():
        features = model.encode_images(pixels)
    return features.clone()


class _ImageGraph(nn.Module):
    """The image encoder of a model, or those of all its members."""

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
