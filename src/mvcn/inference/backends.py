"""What computes a run's predictions: PyTorch, or graphs that belong to its weights."""

import logging
from typing import Literal, TypeAlias

from mvcn.errors import require_torch
from mvcn.runtime.graphs import MODEL_FILE, GraphModel
from mvcn.runtime.saved_processor import SavedProcessor
from mvcn.training.run_folder import Run

Backend: TypeAlias = Literal["auto", "torch", "onnx"]
LOG = logging.getLogger(__name__)
NO_GRAPHS = "it has no ONNX graphs"
REMEDY = " (mvcn export writes them where PyTorch is installed)"


def load_graphs(run: Run, backend: Backend) -> GraphModel | None:
    """Return the graphs of a run as its model, None if PyTorch is to be used.

    Args:
        run: The run.
        backend: As for `Classifier.from_pretrained`.

    Raises:
        ConfigError: PyTorch is needed and not installed.
        RunError: Graphs are needed, but missing, damaged, or made of other weights.
    """
    if backend == "torch":
        require_torch("The backend torch")
        return None
    run.require_model()
    if backend == "onnx":
        graphs = _open_graphs(run)
        graphs.require_weights_of(run.folder)
        return graphs
    found = _usable_graphs(run)
    if isinstance(found, GraphModel):
        return found
    require_torch(f"{run.folder} can only be used with PyTorch, since {found}{REMEDY}, and")
    if found != NO_GRAPHS:
        LOG.warning("%s is used with PyTorch, since %s.", run.folder, found)
    return None


def _usable_graphs(run: Run) -> GraphModel | str:
    """Return the graphs of a run, or why they are not used."""
    if not (run.folder / MODEL_FILE).is_file():
        return NO_GRAPHS
    why_not = SavedProcessor.why_not(run.folder)
    if why_not is not None:
        return why_not
    graphs = _open_graphs(run)
    return graphs if graphs.are_of(run.folder) else "its ONNX graphs were made from other weights"


def _open_graphs(run: Run) -> GraphModel:
    is_plain = SavedProcessor.why_not(run.folder) is None
    processor = SavedProcessor(run.folder) if is_plain else run.processor
    return GraphModel(run.folder, processor)
