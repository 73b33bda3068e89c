"""Write a run's model as an ONNX file into its folder, and compare both on posts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from jaxtyping import Float

from mvcn.data.synthetic import generate_posts
from mvcn.errors import DataError, RunError
from mvcn.inference.classifier import Classifier
from mvcn.inference.onnx import quantize_graph, write_graphs
from mvcn.outputs import require_new_file
from mvcn.runtime.graphs import FILES, IMAGE_FILE, GraphModel, GraphName, weights_digest
from mvcn.training.run_folder import Run
from mvcn.types import Post

TOLERANCE = 1e-4
"""Largest difference of a probability, single precision against single precision."""
MAX_CHECKED = 500
GENERATED = 64


@dataclass(frozen=True, slots=True)
class Export:
    """A written graph, and how much it differs from the model."""

    path: Path
    posts: int
    """Number of posts on which both were compared."""
    are_generated: bool
    """Whether these were generated, since those of the run are gone."""
    difference: float
    """Largest difference of a probability."""
    changed: float
    """Share of the posts with another class."""


def export_run(run: Path, *, is_quantized: bool = False, overwrite: bool = False) -> Export:
    """Write the graph of a run's model into its folder, for ``--backend``.

    Args:
        run: A finished run.
        is_quantized: Quantize linear layers to eight bits.
        overwrite: Replace an earlier file.

    Raises:
        ConfigError: The extra is missing, or the network cannot be expressed as a graph.
        RunError: The run is damaged, the file exists, or the graph gives other probabilities.
    """
    name: GraphName = "onnx-int8" if is_quantized else "onnx"
    if run.is_dir():
        for file in (FILES[name], *([] if is_quantized else [IMAGE_FILE])):
            require_new_file(run / file, overwrite=overwrite)
    model = Classifier.from_pretrained(run, "torch")
    with TemporaryDirectory(dir=run) as written:
        folder = Path(written)
        _write(run, folder, is_quantized=is_quantized)
        graphs = GraphModel(run, Run(run).processor, name, graphs=folder)
        found = _compare(run, run / FILES[name], model, Classifier(graphs, graphs.processor))
        if not is_quantized and found.difference > TOLERANCE:
            raise RunError(
                f"The graph of {run} differs from its model by {found.difference:.1e} in a "
                f"probability, more than {TOLERANCE:.0e}: it was not kept."
            )
        for path in folder.glob("*.onnx"):
            path.replace(run / path.name)
    return found


def _write(run: Path, folder: Path, *, is_quantized: bool) -> None:
    opened, single_precision = Run(run), folder / FILES["onnx"]
    write_graphs(opened.model, opened.processor, folder, weights_digest(run))
    if is_quantized:
        quantize_graph(single_precision, folder / FILES["onnx-int8"])
        single_precision.unlink()


def _compare(run: Path, target: Path, model: Classifier, exported: Classifier) -> Export:
    posts, are_generated = _posts(run)
    ours = _probabilities(model, posts)
    if not len(ours):  # none of them can be read any more
        posts, are_generated = _generated_posts(), True
        ours = _probabilities(model, posts)
    theirs = _probabilities(exported, posts)
    return Export(
        target,
        len(ours),
        are_generated,
        float(np.abs(ours - theirs).max()),
        float((ours.argmax(1) != theirs.argmax(1)).mean()),
    )


def _posts(run: Path) -> tuple[Sequence[Post], bool]:
    """Return the run's held-out posts, or generated ones if they are gone; and which of both."""
    try:
        return Run(run).held_out_posts[:MAX_CHECKED], False
    except DataError:
        return _generated_posts(), True


def _generated_posts() -> list[Post]:
    return [one.post for one in generate_posts(GENERATED, seed=0)]


def _probabilities(
    classifier: Classifier, posts: Sequence[Post]
) -> Float[np.ndarray, "batch classes"]:
    predictions = classifier.each_prediction(posts, on_bad_image="blank")
    return np.array([list(one.probabilities.values()) for one in predictions if one.probabilities])
