"""A model as ONNX graphs: from pixels to image features, and from word pieces to logits."""

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from mvcn.data.images import Warn
from mvcn.errors import RunError
from mvcn.files import intact, require_allowed
from mvcn.models.registry import INPUTS, described_system
from mvcn.runtime.batches import ArrayEncoder, PostArrays
from mvcn.runtime.images import ImageArray, ImagePixels
from mvcn.runtime.processing import PostProcessing
from mvcn.types import MODEL_TYPE, ImageReference
from mvcn.workers import num_threads

MODEL_FILE = "model.onnx"
"""The graph of texts and image features."""
IMAGE_FILE = "image.onnx"
"""The graph of images, where the model reads them."""
WEIGHTS_FILE = "model.safetensors"
WEIGHTS, MAX_TOKENS, IMAGE_GRAPH = "weights", "max_tokens", "image_graph"
"""Metadata of the graph of texts: digests of the weights it was made of and of the graph of images,
and the longest text it reads."""
PIXELS, FEATURES = "pixel_values", "image_features"
"""Input and output of the graph of images."""
LENGTH_BYTES = 8
"""At the beginning of a file of safetensors: the length of its header."""
SAMPLED_BYTES = 4096
NO_TELEMETRY = "ORT_DISABLE_TELEMETRY"
"""Environment variable without which onnxruntime keeps an id of the machine, and sends events."""
AGAIN = "write both again with mvcn export {} --overwrite, where PyTorch is installed"
"""End of a sentence about a graph."""
BATCH_SIZE = 16


@dataclass(slots=True)
class ModelConfig:
    """What prediction needs of the configuration that is saved with a model."""

    network: str
    class_names: tuple[str, ...]
    """The classes in the order of the logits."""
    members: int = 1
    temperature: float = 1.0
    logit_offsets: Sequence[float] | None = None
    learned_inputs: Sequence[str] | None = None
    plugin: Mapping[str, Any] | None = None

    @classmethod
    def load(cls, folder: Path) -> "ModelConfig":
        """Read config.json of a saved model."""
        with intact(folder / "config.json") as path:
            saved = json.loads(path.read_text("utf-8"))
            if saved["model_type"] != MODEL_TYPE:
                raise ValueError(f"it belongs to a model of type {saved['model_type']}")
            names = {int(index): str(name) for index, name in saved["id2label"].items()}
            known = {name: saved[name] for name in cls.__slots__ if name in saved}
            if not 0 < known.get("temperature", 1.0) < math.inf:
                raise ValueError("its temperature must be above 0")
            if known.get("plugin") and not set(known["plugin"]["reads"]) <= set(INPUTS):
                raise ValueError(f"its plug-in reads something other than {', '.join(INPUTS)}")
            return cls(**known | {"class_names": tuple(names[i] for i in range(len(names)))})

    def probabilities(
        self, logits: Float[np.ndarray, "batch classes"]
    ) -> Float[np.ndarray, "batch classes"]:
        """Return class probabilities in double precision."""
        scaled = logits.astype(np.float64) / self.temperature
        if self.logit_offsets is not None:
            scaled += self.logit_offsets
        shares = np.exp(scaled - scaled.max(1, keepdims=True))
        return np.asarray(shares / shares.sum(1, keepdims=True))


def weights_digest(folder: Path) -> str:
    """Return a digest of the weights in a run folder; "" where there are none.

    It covers names and sizes of all tensors and the first bytes of each, which training changes in
    every one that it changes at all: the whole file would take longer than a prediction.
    """
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        return ""
    with intact(path), path.open("rb") as file:
        size = int.from_bytes(file.read(LENGTH_BYTES), "little")
        header = file.read(size)
        digest = hashlib.sha256(header)
        for name, about in json.loads(header).items():
            if name != "__metadata__":
                start, end = about["data_offsets"]
                file.seek(LENGTH_BYTES + size + start)
                digest.update(file.read(min(end - start, SAMPLED_BYTES)))
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """Return a digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, hashlib.sha256).hexdigest()


class GraphModel:
    """The graphs of a run, for prediction with onnxruntime.

    Each run of a graph uses one core: posts are computed side by side, in as many threads as there
    are cores, which wait without spinning, for the benefit of other programs.

    Args:
        folder: A run folder.
        processor: The model's own.
        threads: Posts or batches that are computed at the same time; by default one per core.
        graphs: Folder of the graphs, if it is another.

    Raises:
        RunError: A file is missing or damaged, or may not be read.
    """

    def __init__(
        self,
        folder: Path,
        processor: PostProcessing,
        threads: int | None = None,
        graphs: Path | None = None,
    ) -> None:
        self.processor = processor
        self.config = ModelConfig.load(folder)
        place = folder if graphs is None else graphs
        self._graph = open_graph(place / MODEL_FILE)
        self._inputs = [entry.name for entry in self._graph.get_inputs()]
        self._outputs = [entry.name for entry in self._graph.get_outputs()]
        self._metadata = dict(self._graph.get_modelmeta().custom_metadata_map)
        processor.limit_tokens(int(self._metadata.get(MAX_TOKENS, processor.max_tokens)))
        self._require_classes(place)
        self._image_graph = self._open_images(place) if FEATURES in self._inputs else None
        self.threads = threads or num_threads()
        self._pool = ThreadPoolExecutor(self.threads)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes in the order of the logits."""
        return self.config.class_names

    def are_of(self, folder: Path) -> bool:
        """Return whether the graphs were made of the weights in a folder, or are there alone."""
        digest = weights_digest(folder)
        return digest in ("", self._metadata.get(WEIGHTS))

    def require_weights_of(self, folder: Path) -> None:
        """Raise a RunError unless the graphs were made of the weights in a folder."""
        if not self.are_of(folder):
            raise RunError(
                f"The ONNX graphs in {folder} were made from other weights, or by an earlier "
                f"version: {AGAIN.format(folder)}."
            )

    def _require_classes(self, place: Path) -> None:
        """Raise a RunError unless the graph has an output for each class of the configuration."""
        _, outputs = self._graph.get_outputs()[0].shape
        if outputs != len(self.class_names):
            raise RunError(
                f"{place / MODEL_FILE} has {outputs} classes, but config.json names "
                f"{len(self.class_names)}: {AGAIN.format(place)}."
            )

    def _open_images(self, place: Path) -> Any:
        graph = open_images(place / IMAGE_FILE)
        if self._metadata.get(IMAGE_GRAPH) not in (None, file_digest(place / IMAGE_FILE)):
            raise RunError(
                f"{IMAGE_FILE} in {place} is not the one that {MODEL_FILE} was written with: "
                f"{AGAIN.format(place)}."
            )
        return graph

    def encoder(self, *, keeps: bool = False) -> ArrayEncoder:
        """Return what makes arrays of posts; nothing is kept whatever `keeps` is."""
        graph, about = self._image_graph, described_system(self.config)
        images = None
        if graph is not None:
            images = GraphImages(graph, self.processor, self.threads, self._blank)
        reads, ignored = about.learned(self.config), about.ignored(self.config)
        return ArrayEncoder(self.processor, images, reads, ignored)

    @property
    def _blank(self) -> ImageArray:
        """Features of a missing image: one token of zeros, unless the graph needs all."""
        (shape,) = [one.shape for one in self._graph.get_inputs() if one.name == FEATURES]
        return np.zeros([size if isinstance(size, int) else 1 for size in shape[1:]], np.float32)

    def predict(
        self, posts: PostArrays
    ) -> tuple[Float[np.ndarray, "posts classes"], Float[np.ndarray, " posts"]]:
        """Return class probabilities, and the disagreement of members; NaN without members."""
        rows = np.empty((len(posts), len(self.class_names)))
        disagreement = np.full(len(posts), np.nan)
        share = -(-len(posts) // self.threads)  # so that a few posts occupy all threads, too
        order = list(posts.batches(max(1, min(BATCH_SIZE, share))))
        outputs = self._pool.map(partial(self._run, posts), order)
        for chosen, found in zip(order, outputs, strict=True):
            rows[chosen] = self.config.probabilities(found["logits"])
            if self.config.members > 1:
                disagreement[chosen] = found["disagreement"]
        return rows, disagreement

    def _run(self, posts: PostArrays, chosen: Sequence[int]) -> dict[str, np.ndarray]:
        batch = posts.arrays([posts[position] for position in chosen])
        feed = {name: batch[name] for name in self._inputs}
        return dict(zip(self._outputs, self._graph.run(self._outputs, feed), strict=True))


class GraphImages(ImagePixels):
    """Features of images: each is decoded and computed in one thread.

    Args:
        graph: From pixels to features.
        processor: Of the model.
        threads: Images at the same time.
        blank: Features of a missing image.
    """

    input_name = FEATURES

    def __init__(
        self, graph: Any, processor: PostProcessing, threads: int, blank: ImageArray
    ) -> None:
        super().__init__(processor, keep=True, threads=threads)
        self._graph = graph
        self._blank = blank

    def blank(self) -> ImageArray:
        """Return the features of a missing image."""
        return self._blank

    def _read(self, image: ImageReference, warn: Warn | None) -> ImageArray:
        pixels = super()._read(image, warn)
        (features,) = self._graph.run(None, {PIXELS: pixels[None]})
        found: ImageArray = features[0]
        return found


def open_images(path: Path) -> Any:
    """Load a graph of images; raises a RunError if it is another one."""
    graph = open_graph(path)
    if [one.name for one in graph.get_inputs()] != [PIXELS]:
        raise RunError(f"{path} is not the ONNX graph of images: {AGAIN.format(path.parent)}.")
    return graph


def open_graph(path: Path) -> Any:
    """Load a graph, whose runs use one core each."""
    require_allowed(path, RunError)
    if not path.is_file():
        raise RunError(f"There is no {path}: {AGAIN.format(path.parent)}.")
    os.environ.setdefault(NO_TELEMETRY, "1")
    import onnxruntime  # takes a while

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a different class for each kind of damage
        raise RunError(f"{path} is damaged: {AGAIN.format(path.parent)}.") from error
